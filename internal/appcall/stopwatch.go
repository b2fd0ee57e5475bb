package appcall

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"
)

// stopwatch takes the times of a call's parts. The transport may go on calling it after the call
// has ended, from a connection that somebody else uses.
type stopwatch struct {
	mu                       sync.Mutex
	timing                   *Timing // nil once stopped
	dns, connect, tls, wrote time.Time
}

func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timing = nil
}

// begin notes when a part begins, end adds what it took.
func (w *stopwatch) begin(at *time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*at = time.Now()
}

func (w *stopwatch) end(since *time.Time, part func(*Timing) *time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timing != nil && !since.IsZero() {
		*part(w.timing) = time.Since(*since)
	}
}

func (w *stopwatch) with(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { w.begin(&w.dns) },
		DNSDone:              func(httptrace.DNSDoneInfo) { w.end(&w.dns, func(t *Timing) *time.Duration { return &t.DNS }) },
		ConnectStart:         func(string, string) { w.begin(&w.connect) },
		ConnectDone:          func(string, string, error) { w.end(&w.connect, func(t *Timing) *time.Duration { return &t.Connect }) },
		TLSHandshakeStart:    func() { w.begin(&w.tls) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { w.end(&w.tls, func(t *Timing) *time.Duration { return &t.TLS }) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.begin(&w.wrote) },
		GotFirstResponseByte: func() { w.end(&w.wrote, func(t *Timing) *time.Duration { return &t.FirstByte }) },
	})
}
