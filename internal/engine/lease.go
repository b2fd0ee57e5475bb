package engine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Lease says which of several processes on one engine works. Its holder renews it all the time;
// one that does not any more loses it to who waits. The streams are fenced besides: the lease
// decides who opens them.
type Lease struct {
	log  *slog.Logger
	kv   jetstream.KeyValue
	self holder

	mu       sync.Mutex
	held     bool
	revision uint64    // of our record
	renewed  time.Time // when the newest renewal that succeeded was sent
	other    holder    // who holds it, as last seen

	lost chan struct{} // closed when somebody else holds it
	stop context.CancelFunc
	done chan struct{} // closed when nothing renews it any more; nil before it was held
}

// holder is what the record says.
type holder struct {
	ID  string `json:"id"` // "" for nobody: it was released
	URL string `json:"url"`
}

const (
	leaseBucket = "hark_lease"
	leaseKey    = "active"

	// LeaseLife is how long a lease is not renewed before another may take it.
	LeaseLife = 5 * time.Second
	// leaseTrust is how long its holder relies on a renewal: less, counted from before it.
	leaseTrust = 4 * time.Second
	leaseRenew = time.Second
	leaseLook  = 250 * time.Millisecond
)

// ErrHeld says that another process holds the lease.
var ErrHeld = errors.New("another hark is active on this NATS")

// Lease opens the lease for a process that is reached by the URL.
func (e *Engine) Lease(ctx context.Context, url string) (*Lease, error) {
	kv, err := e.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: leaseBucket, Description: "which hark is active", History: 1, Storage: jetstream.FileStorage, Replicas: e.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open lease: %w", err)
	}
	return &Lease{log: e.log, kv: kv, self: holder{rand.Text(), url}, lost: make(chan struct{})}, nil
}

// Take waits until the lease is ours. Without patience it returns ErrHeld once it has seen
// that somebody renews it.
func (l *Lease) Take(ctx context.Context, patience bool) error {
	var seen uint64     // the revision
	var since time.Time // when it was first seen
	for looks := 0; ; looks++ {
		revision, who, err := l.look(ctx)
		switch {
		case err != nil:
			l.log.Warn("the lease cannot be looked at", "err", err)
		case revision == 0 || who.ID == "" || who.ID == l.self.ID || revision == seen && time.Since(since) > LeaseLife:
			if l.grab(ctx, revision) {
				return nil
			}
		case revision != seen:
			if seen > 0 && !patience {
				return fmt.Errorf("%w; it is reached at %s", ErrHeld, who.URL)
			}
			seen, since = revision, time.Now()
		}
		select {
		case <-time.After(leaseLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Free reports whether nobody holds the lease: it was never taken, or was released.
func (l *Lease) Free(ctx context.Context) bool {
	revision, who, err := l.look(ctx)
	return err == nil && (revision == 0 || who.ID == "")
}

// look returns the record and its revision, 0 when there is none.
func (l *Lease) look(ctx context.Context) (uint64, holder, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, leaseKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, holder{}, nil
	}
	if err != nil {
		return 0, holder{}, err
	}
	var who holder
	if err := json.Unmarshal(entry.Value(), &who); err != nil {
		return 0, holder{}, fmt.Errorf("the lease's record: %w", err)
	}
	l.mu.Lock()
	l.other = who
	l.mu.Unlock()
	return entry.Revision(), who, nil
}

// write replaces the record of a revision, and returns the new one's.
func (l *Lease) write(ctx context.Context, who holder, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTrust)
	defer cancel()
	b, err := json.Marshal(who)
	if err != nil {
		return 0, err
	}
	return l.kv.Update(ctx, leaseKey, b, revision)
}

// grab takes the lease if its revision is still that.
func (l *Lease) grab(ctx context.Context, revision uint64) bool {
	started := time.Now()
	revision, err := l.write(ctx, l.self, revision)
	if err != nil {
		return false // somebody was faster, or it is not known: the next look shows
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.revision, l.renewed = true, revision, started
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx)) // Release ends it
	l.stop, l.done = stop, make(chan struct{})
	go l.renew(renewing)
	return true
}

// renew renews the lease until it is released, or lost.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.done)
	wait := leaseRenew
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		started := time.Now()
		l.mu.Lock()
		revision := l.revision
		l.mu.Unlock()
		now, err := l.write(ctx, l.self, revision)
		if err == nil {
			l.mu.Lock()
			l.revision, l.renewed = now, started
			l.mu.Unlock()
			wait = leaseRenew
			continue
		}
		wait = leaseLook
		now, who, err := l.look(ctx)
		switch {
		case err != nil || now == revision: // the engine is away, or was
		case who.ID == l.self.ID: // the answer to a renewal was lost
			l.mu.Lock()
			l.revision = now
			l.mu.Unlock()
		case now > revision:
			l.mu.Lock()
			l.held = false
			l.mu.Unlock()
			close(l.lost)
			return
		}
	}
}

// Valid returns nil while the lease is ours for sure, else why not. Time that passed while this
// process stood still counts, by the clock that knows more of it.
func (l *Lease) Valid() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		return fmt.Errorf("%w; it is reached at %s", ErrHeld, l.other.URL)
	}
	if age := max(time.Since(l.renewed), time.Since(l.renewed.Round(0))); age > leaseTrust {
		return fmt.Errorf("the lease of the active hark was not renewed for %v; another may have it", age.Round(time.Millisecond))
	}
	return nil
}

// Lost is closed when somebody else has taken the lease.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Holder returns where who holds the lease is reached, as last seen.
func (l *Lease) Holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.other.URL
}

// Release lets another take the lease at once, if it is ours.
func (l *Lease) Release(ctx context.Context) {
	l.mu.Lock()
	stop := l.stop
	l.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-l.done
	l.mu.Lock()
	held, revision := l.held, l.revision
	l.held = false
	l.mu.Unlock()
	if !held {
		return
	}
	if _, err := l.write(context.WithoutCancel(ctx), holder{}, revision); err != nil {
		l.log.Warn("the lease could not be released; another hark waits until it is over", "err", err)
	}
}
