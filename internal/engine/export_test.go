package engine

import "context"

// Abandon stops renewing without a word, as a process that is killed.
func (l *Lease) Abandon() {
	l.stop()
	<-l.done
}

// Freeze stops renewing, as a process that is stopped; Thaw goes on.
func (l *Lease) Freeze() { l.Abandon() }

// Thaw lets a frozen lease go on.
func (l *Lease) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.done = stop, make(chan struct{})
	go l.renew(ctx)
}
