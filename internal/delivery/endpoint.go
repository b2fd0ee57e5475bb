package delivery

import (
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"hark/internal/appcall"
)

// endpoint is the circuit of an app's endpoint, which all who have installed the app share. It is
// there while calls fail: a hundred thousand cursors must not each find out that an endpoint is down.
type endpoint struct {
	failed  []*cursor // whose calls have, since one was answered; not more than it takes to be down
	probes  int       // that failed, since it is taken for down
	since   time.Time // when the first call failed
	failure string    // of the last one, in words
	until   time.Time // nobody calls before; who calls then is the probe, and moves it on
	next    *cursor   // who is to do that
	probe   *cursor   // who does, while a call is under way

	resting map[*cursor]struct{} // who waits for that, and some that do not any more
}

const (
	// downAfter is how many installed apps' calls fail, and none is answered between, until an
	// endpoint is taken for down: one or two may have events that make an app fail.
	downAfter = 5
	// reopenEvery is the time between cursors that go on when the endpoint is back: it gets what
	// waits for a thousand homes in a second, not that of all at once.
	reopenEvery  = time.Millisecond
	reopenAtOnce = 1000 // of which the timers are set at a time
)

// isDown reports whether the circuit is open. The caller holds mu.
func (e *endpoint) isDown() bool { return e != nil && len(e.failed) >= downAfter }

// mayCall reports whether a cursor may begin to call its app. If not, because the endpoint is down
// and another cursor probes it, it sleeps on.
func (d *Dispatcher) mayCall(c *cursor) bool {
	in, ok := d.home.Installed(c.app)
	if !ok {
		return true // what comes next finds that out, as what holds an app back
	}
	app, ok := d.directory.App(in.App)
	if !ok || Held(app, in) != nil {
		return true
	}
	d.mu.Lock()
	c.how, c.endpoint = app.Delivery.WithDefaults(), in.App
	e, now := d.endpoints[c.endpoint], time.Now()
	if !e.isDown() || !c.waits() || d.stopping || c.removed {
		d.mu.Unlock()
		return true
	}
	if !now.Before(e.until) {
		e.probe, e.until = c, now.Add(time.Duration(c.how.Timeout)+firstDelay) // if it never comes back, another does
		d.mu.Unlock()
		return true
	}
	c.fallBehind()
	c.running, c.window, e.resting[c] = false, 1, struct{}{}
	c.failure = "the endpoint is down for all who have installed the app, who probe it in turn: " + e.failure
	if c.down.IsZero() {
		c.down = e.since
	}
	if wait := e.until.Sub(now); c.failures == 0 && e.next != nil && e.next.failures > 0 {
		e.next.timer.Stop() // its calls may fail for reasons of their own
		d.rest(e.next, wait+rand.N(lastDelay))
		e.next = c
		d.rest(c, wait)
	} else {
		d.rest(c, wait+rand.N(lastDelay))
	}
	tooLong := d.downTooLong(c)
	d.mu.Unlock()
	if tooLong {
		d.giveUp(c)
	}
	return false
}

// rest has the cursor tried again after a while. The caller holds mu.
func (d *Dispatcher) rest(c *cursor, wait time.Duration) {
	c.next = time.Now().Add(wait)
	c.timer = time.AfterFunc(wait, func() { d.wake(c.app) })
}

// failed notes that a cursor's call failed because of its endpoint, and returns for how long the
// cursor is to rest, at least. The caller holds mu.
func (d *Dispatcher) failed(c *cursor, f *appcall.Failure) time.Duration {
	wait := max(delay(c.failures+1), min(f.RetryAfter, maxRetryAfter))
	now := time.Now()
	if c.window = 1; c.down.IsZero() {
		c.down = now
	}
	e := d.endpoints[c.endpoint]
	if e == nil {
		e = &endpoint{since: now, resting: map[*cursor]struct{}{}}
		d.endpoints[c.endpoint] = e
	}
	e.failure = f.Message
	if !e.isDown() && !slices.Contains(e.failed, c) {
		e.failed = append(e.failed, c)
	}
	switch {
	case !e.isDown():
	case e.probes == 0 || e.probe == c:
		e.probes, e.probe = e.probes+1, nil
		if e.probes == 1 {
			d.log.Warn("an endpoint is down: its installed apps probe it in turn, and wait meanwhile", "app", c.endpoint, "err", f.Message)
		}
		after := max(delay(e.probes), min(f.RetryAfter, maxRetryAfter))
		e.until = now.Add(after)
		wait = max(wait, after)
		if e.next = e.leastFailed(); e.next != nil {
			e.next.timer.Stop()
			d.rest(e.next, after)
			wait = max(wait, after+rand.N(lastDelay))
		} else {
			e.next = c
		}
	default: // it was under way when the circuit opened
		wait = max(wait, e.until.Sub(now)+rand.N(lastDelay))
	}
	e.resting[c] = struct{}{}
	return wait
}

// waiting are the cursors that wait for the endpoint, in no order. The caller holds mu.
func (e *endpoint) waiting() iter.Seq[*cursor] {
	return func(yield func(*cursor) bool) {
		for c := range e.resting {
			if !c.rests() {
				delete(e.resting, c)
			} else if !yield(c) {
				return
			}
		}
	}
}

// rests reports whether a timer will have the cursor tried again. The caller holds mu.
func (c *cursor) rests() bool { return c.behind && !c.running && !c.removed && !c.next.IsZero() }

// leastFailed returns a cursor that waits and has failed as rarely as any, nil for none. The caller
// holds mu.
func (e *endpoint) leastFailed() (least *cursor) {
	for c := range e.waiting() {
		if least == nil || c.failures < least.failures {
			if least = c; c.failures == 0 {
				break
			}
		}
	}
	return least
}

// answered notes that a cursor's endpoint takes calls. The caller holds mu.
func (d *Dispatcher) answered(c *cursor) {
	e := d.endpoints[c.endpoint]
	if e == nil {
		return
	}
	delete(d.endpoints, c.endpoint)
	if !e.isDown() {
		return
	}
	waiting := slices.Collect(e.waiting())
	d.log.Info("an endpoint is up again", "app", c.endpoint, "waiting", len(waiting), "downFor", time.Since(e.since).Round(time.Millisecond))
	d.reopen(waiting)
}

// leave forgets a cursor that is removed, and its endpoint with the last one that waits for it. The
// caller holds mu.
func (d *Dispatcher) leave(c *cursor) {
	e := d.endpoints[c.endpoint]
	if e == nil {
		return
	}
	delete(e.resting, c)
	for range e.waiting() {
		return
	}
	delete(d.endpoints, c.endpoint)
}

// reopen has cursors go on whose endpoint is back, one after the other. The caller holds mu.
func (d *Dispatcher) reopen(list []*cursor) {
	if d.stopping {
		return
	}
	n := min(len(list), reopenAtOnce)
	for i, c := range list[:n] {
		if c.rests() {
			c.timer.Stop()
			d.rest(c, time.Duration(i)*reopenEvery)
		}
	}
	if left := list[n:]; len(left) > 0 {
		time.AfterFunc(reopenAtOnce*reopenEvery, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.reopen(left)
		})
	}
}
