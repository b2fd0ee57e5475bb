package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/envelope"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// Delays between attempts: doubling from the first to the last, less a random part of up to
// a half, so that apps that failed together are not tried together.
const (
	firstDelay = time.Second
	lastDelay  = time.Minute
)

// maxRetryAfter bounds what an app can ask for by Retry-After.
const maxRetryAfter = time.Hour

func delay(failures int) time.Duration {
	d := min(firstDelay<<min(failures-1, 10), lastDelay)
	return d - rand.N(d/2)
}

// lagDelay is how long a cursor waits for an engine that does not show yet what it has.
const lagDelay = 20 * time.Millisecond

// paced says that the next event may be sent after a while only.
type paced struct {
	error
	wait time.Duration
}

// held says that nothing may be sent to the app for now; Wake ends it.
type held struct{ error }

// pump delivers what waits for one app, one by one, until nothing waits, or an attempt fails
// and the rest waits for a timer. It is the only goroutine that an app ever has.
func (d *Dispatcher) pump(c *cursor) {
	for {
		it, ok := d.next(c)
		if !ok {
			return
		}
		if !d.finish(c, it, d.deliver(c, it)) {
			return
		}
	}
}

// next returns the next item, and false when the pump is to end.
func (d *Dispatcher) next(c *cursor) (item, bool) {
	for {
		d.mu.Lock()
		switch {
		case d.stopping || c.removed:
			c.running = false
			d.mu.Unlock()
			return item{}, false
		case !c.behind && len(c.queue) == 0:
			c.running = false
			delete(d.cursors, c.app)
			d.mu.Unlock()
			return item{}, false
		case !c.behind:
			it := c.queue[0]
			d.mu.Unlock()
			return it, true
		}
		position := c.position
		d.mu.Unlock()
		if len(c.ahead) > 0 {
			it := c.ahead[0]
			c.ahead = c.ahead[1:]
			return it, true
		}
		if err := d.readAhead(c, position); err != nil {
			d.fail(c, fmt.Errorf("read the journal: %w", err))
			return item{}, false
		}
	}
}

// readAhead fills c.ahead from the journal, or finds that the cursor has caught up.
func (d *Dispatcher) readAhead(c *cursor, position uint64) error {
	d.mu.Lock()
	dispatched := d.dispatched
	d.mu.Unlock()
	events, err := d.journal.Read(d.ctx, c.location, position, readAhead)
	if err != nil {
		return err
	}
	for len(events) > 0 && events[len(events)-1].Seq > dispatched {
		events = events[:len(events)-1] // durable, but about to be offered: read now, it would come twice
	}
	first, err := d.gap(c, position, events)
	if err != nil {
		return err
	}
	if first > 0 {
		position = first - 1
	}
	for _, e := range events {
		if matched := d.home.MatchFor(c.app, e); len(matched) > 0 {
			c.ahead = append(c.ahead, item{e, matched})
		} else if len(c.ahead) == 0 {
			position = e.Seq
		}
	}
	d.mu.Lock()
	c.position = max(c.position, position)
	// Both must say so: after a crash last may be too old, and a replica of the journal that
	// lags behind shows too little.
	caughtUp := len(events) == 0 && c.position >= d.last[c.location]
	if caughtUp {
		c.behind, c.ahead = false, nil
		if c.stored > 0 {
			d.caughtUp[c.app] = true
			c.stored = 0
		}
	}
	d.mu.Unlock()
	if len(events) == 0 && !caughtUp {
		select { // the engine acknowledged events that this server of it does not show yet
		case <-time.After(lagDelay):
		case <-d.ctx.Done():
		}
	}
	return nil
}

// gap reports events that outlived the journal's retention before the app took them: it
// returns the position of the oldest event kept, when the cursor stands before that and
// events may be missing between, else 0.
func (d *Dispatcher) gap(c *cursor, position uint64, events []*event.Event) (uint64, error) {
	if len(events) > 0 && events[0].Seq == position+1 {
		return 0, nil
	}
	first, err := d.journal.First(d.ctx)
	if err != nil || first <= position+1 {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last[c.location] <= position || c.removed {
		return first, nil
	}
	g := Gap{After: position, Before: first, BehindSince: c.since, Noted: time.Now()}
	d.gaps[c.app] = append(d.gaps[c.app], g)
	d.newGaps[c.app] = append(d.newGaps[c.app], g)
	d.log.Error("events left the journal before the app took them: it was behind for longer than they are kept (--retention)",
		"installedApp", c.app, "location", c.location, "after", g.After, "before", g.Before, "behindSince", g.BehindSince)
	return first, nil
}

// finish notes how the item's delivery ended; it returns false when the pump is to end.
func (d *Dispatcher) finish(c *cursor, it item, err error) bool {
	if err != nil {
		d.fail(c, err)
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.failures > 0 {
		d.log.Info("app answers again", "installedApp", c.app, "failures", c.failures, "behindFor", time.Since(c.since).Round(time.Millisecond))
	}
	c.failures, c.failure = 0, ""
	c.partial, c.partialDone = 0, nil
	if c.behind {
		c.position = max(c.position, it.event.Seq)
	} else {
		c.queue = c.queue[1:]
	}
	return true
}

// fail puts the cursor behind and to sleep until it is time to try again.
func (d *Dispatcher) fail(c *cursor, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.behind {
		c.fallBehind()
	}
	c.ahead = nil
	c.running = false
	if d.stopping || c.removed || errors.Is(err, context.Canceled) && d.ctx.Err() != nil {
		return
	}
	c.failure = err.Error()
	if h, ok := err.(held); ok { // made right here, never wrapped
		c.next = time.Time{}
		d.log.Warn("events wait", "installedApp", c.app, "because", h.Error())
		return
	}
	wait := delay(c.failures + 1)
	if f, ok := err.(*appcall.Failure); ok { // unwrapped, too
		wait = max(wait, min(f.RetryAfter, maxRetryAfter))
	}
	if p, ok := err.(paced); ok { // likewise
		wait = p.wait
	} else {
		c.failures++
		d.counters.Failed++
	}
	c.next = time.Now().Add(wait)
	c.timer = time.AfterFunc(wait, func() { d.Wake(c.app) })
	d.log.Warn("delivery failed, trying again", "installedApp", c.app, "err", err, "failures", c.failures, "in", wait.Round(time.Millisecond))
}

// deliver sends the item's event once for each subscription, in order. It skips those that
// an earlier attempt at the same event has served.
func (d *Dispatcher) deliver(c *cursor, it item) error {
	if c.partial != it.event.Seq {
		c.partial, c.partialDone = it.event.Seq, nil
	}
	for i := 0; i < len(it.subscriptions); i++ {
		s := it.subscriptions[i]
		if _, done := c.partialDone[s.ID]; done {
			continue
		}
		in, ok := d.home.Installed(c.app)
		if !ok {
			return nil
		}
		app, ok := d.directory.App(in.App)
		if !ok {
			return nil
		}
		if err := Held(app, in); err != nil {
			return held{err}
		}
		if err := d.pace(in.ID); err != nil {
			return err
		}
		if err := d.send(app, in, it.event, s); err != nil {
			f, ok := err.(*appcall.Failure) // Call returns it unwrapped
			switch {
			case ok && f.Status == http.StatusGone:
				if err := d.home.Pause(d.ctx, in.ID, f.Message); err != nil {
					return err
				}
				i-- // it is held from now on, as the next turn sees
				continue
			case !ok || !isRefusal(f.Status) || !d.refuse(in, it.event, s, f):
				return err
			}
		}
		if len(it.subscriptions) > 1 {
			if c.partialDone == nil {
				c.partialDone = map[id.Subscription]struct{}{}
			}
			c.partialDone[s.ID] = struct{}{}
		}
	}
	return nil
}

// pace counts an execution, and reports one too many.
func (d *Dispatcher) pace(app id.InstalledApp) error {
	if d.limits.Executions == 0 {
		return nil
	}
	rate := limits.Rate{What: "executions", Calls: d.limits.Executions, Per: d.limits.ExecutionsPer}
	if left, wait := d.executions.Count(rate, app.String(), time.Now()); left < 0 {
		return paced{errors.New(d.limits.Delayed()), wait}
	}
	return nil
}

// Held returns why nothing may be sent to the installed app for now, nil when it may. What
// waits goes out once that ends.
func Held(app *apps.App, in *apps.Installed) error {
	if p := in.Paused; p != nil {
		return fmt.Errorf("deliveries are paused since %s: %s. POST /hark/v1/installedapps/%s/resume lets them go on, with all that waits", p.Since.UTC().Format(time.RFC3339), p.Reason, in.ID)
	}
	if in.Status != apps.Authorized {
		return errors.New("the app's INSTALL call has not ended yet")
	}
	return app.Deliverable()
}

// Withheld returns why the event may not be sent to the installed app, nil when it may: the
// scope is checked again at each delivery, so that a revoked one stops the next event.
func Withheld(in *apps.Installed, e *event.Event) error {
	if e.ShownTo(scope.Principal{InstalledApp: in.ID, Scopes: in.Permissions}) == nil {
		return nil
	}
	return fmt.Errorf("the app no longer holds the scope %s; it holds %v", e.Needs()[0], in.Permissions.Strings())
}

// unhandled is the answer of the official SDK when it has no handler for an event.
const unhandled = 422

func (d *Dispatcher) send(app *apps.App, in *apps.Installed, e *event.Event, s *subscription.Subscription) error {
	log := d.log.With("app", app.Name, "installedApp", in.ID, "event", e.ID, "subscription", s.DeliveryName())
	if err := Withheld(in, e); err != nil {
		d.count(func(n *Counters) { n.Withheld++ })
		log.Warn("event withheld", "because", err)
		return nil
	}
	data := &envelope.EventData{InstalledApp: envelope.Describe(app, in), Events: []any{e.Webhook(s.DeliveryName())}}
	if app.SmartApp() {
		data.AuthToken = d.directory.EventToken(in.ID, time.Now())
	}
	started := time.Now()
	_, err := d.caller.Call(d.ctx, app, envelope.Encode(app, envelope.Event, envelope.Call{EventData: data}))
	if f, ok := errors.AsType[*appcall.Failure](err); ok && f.Status == unhandled && app.SmartApp() {
		d.count(func(n *Counters) { n.Unhandled++ })
		log.Warn("event delivered, but the app answered 422: it has no handler for the subscription's name", "took", time.Since(started))
		return nil
	}
	if err != nil {
		return err
	}
	d.count(func(n *Counters) { n.Delivered++ })
	log.Debug("event delivered", "took", time.Since(started))
	return nil
}

func (d *Dispatcher) count(f func(*Counters)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.counters)
}
