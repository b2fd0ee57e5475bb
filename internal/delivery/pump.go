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
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
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

// pump delivers what waits for one app, in order, until nothing waits, or an attempt fails
// and the rest waits for a timer. It is the only goroutine that an app ever has for that.
func (d *Dispatcher) pump(c *cursor) {
	if !d.mayCall(c) {
		return
	}
	for {
		batch, ok := d.next(c)
		if !ok {
			return
		}
		if err := d.deliver(c, batch); err != nil {
			d.fail(c, err)
			return
		}
		d.held.Add(-int64(len(c.ahead)))
		c.ahead = nil
	}
}

// next returns the oldest items that may go out, and false when the pump is to end.
func (d *Dispatcher) next(c *cursor) ([]item, bool) {
	for {
		how := d.how(c.app)
		d.mu.Lock()
		c.how = how
		switch {
		case d.stopping || c.removed:
			d.held.Add(-int64(len(c.ahead)))
			c.ahead, c.running = nil, false
			d.mu.Unlock()
			return nil, false
		case !c.behind && len(c.queue) == 0:
			c.running = false
			delete(d.cursors, c.app)
			d.mu.Unlock()
			return nil, false
		case !c.behind && d.gathers(c):
			c.running = false
			d.mu.Unlock()
			return nil, false
		case !c.behind:
			n := len(c.queue)
			if how.MaxDelay > 0 && n > how.MaxEvents {
				n -= n % how.MaxEvents // these go on gathering
			}
			batch := c.queue[:n:n]
			d.mu.Unlock()
			return batch, true
		}
		position := c.position
		d.mu.Unlock()
		if len(c.ahead) > 0 {
			return c.ahead, true
		}
		if err := d.readAhead(c, position); err != nil {
			d.fail(c, fmt.Errorf("read the journal: %w", err))
			return nil, false
		}
	}
}

// most returns how many events the next call may carry. After a failure one is sent to see
// whether the app is back, and each call that it takes lets the next one be twice as large.
func (c *cursor) most() int {
	if c.window > 0 {
		return min(c.window, c.how.MaxEvents)
	}
	return c.how.MaxEvents
}

// how returns the settings in force of the installed app's deliveries.
func (d *Dispatcher) how(installed id.InstalledApp) apps.Delivery {
	var how apps.Delivery
	if in, ok := d.home.Installed(installed); ok {
		if app, ok := d.directory.App(in.App); ok {
			how = app.Delivery
		}
	}
	return how.WithDefaults()
}

// gathers reports whether the queue waits a little for more events to go out with, and sets the
// timer for its end. The caller holds mu.
func (d *Dispatcher) gathers(c *cursor) bool {
	if len(c.queue) >= c.how.MaxEvents || c.how.MaxDelay <= 0 {
		return false
	}
	now := time.Now()
	if c.gathered.IsZero() {
		c.gathered = now.Add(time.Duration(c.how.MaxDelay))
	}
	left := c.gathered.Sub(now)
	if left <= 0 {
		return false
	}
	c.gathering = true
	c.timer = time.AfterFunc(left, func() { d.wake(c.app) })
	return true
}

// readAhead fills c.ahead from the journal, or finds that the cursor has caught up.
func (d *Dispatcher) readAhead(c *cursor, position uint64) error {
	if c.reading = max(readAhead, min(2*c.reading, maxReadAhead)); d.held.Load() > maxHeld {
		c.reading = readAhead
	}
	d.mu.Lock()
	dispatched := d.dispatched
	d.mu.Unlock()
	var r read
	if c.coming != nil {
		r = <-c.coming // everything up to r.after was looked at
		c.coming = nil
	} else {
		r = d.read(c.location, position, c.reading)
	}
	position = max(position, r.after)
	events, err := r.events, r.err
	if err != nil {
		return err
	}
	for len(events) > 0 && events[len(events)-1].Seq > dispatched {
		events = events[:len(events)-1] // durable, but about to be offered: read now, it would come twice
	}
	if n := len(events); c.reading > readAhead && n > 0 && n == len(r.events) {
		coming := make(chan read, 1) // while these are delivered
		c.coming = coming
		after, count := events[n-1].Seq, c.reading
		d.pumps.Go(func() { coming <- d.read(c.location, after, count) })
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
	d.held.Add(int64(len(c.ahead)))
	d.mu.Lock()
	c.position = max(c.position, position)
	// Both must say so: after a crash last may be too old, and a replica of the journal that
	// lags behind shows too little.
	caughtUp := len(events) == 0 && c.position >= d.last[c.location]
	if caughtUp {
		c.behind, c.ahead, c.reading, c.coming = false, nil, 0, nil
		if c.stored != (Place{}) && !c.removed {
			d.caughtUp[c.app] = true
			c.stored = Place{}
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

// read is what the journal has after a position.
type read struct {
	after  uint64
	events []*event.Event
	err    error
}

func (d *Dispatcher) read(at id.Location, after uint64, count int) read {
	events, err := d.journal.Read(d.ctx, at, after, count)
	return read{after, events, err}
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
	d.tel.Gaps.Inc()
	d.log.Error("events left the journal before the app took them: it was behind for longer than they are kept (--retention)",
		"installedApp", c.app, "location", c.location, "after", g.After, "before", g.Before, "behindSince", g.BehindSince)
	return first, nil
}

// fail puts the cursor behind and to sleep until it is time to try again.
func (d *Dispatcher) fail(c *cursor, err error) {
	if d.sleep(c, err) {
		d.giveUp(c)
	}
}

// sleep reports whether the app has been down for too long.
func (d *Dispatcher) sleep(c *cursor, err error) (tooLong bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.behind {
		c.fallBehind()
	}
	d.held.Add(-int64(len(c.ahead)))
	c.ahead, c.reading, c.coming = nil, 0, nil
	c.running = false
	if d.stopping || c.removed || errors.Is(err, context.Canceled) && d.ctx.Err() != nil {
		return false
	}
	c.failure = err.Error()
	if h, ok := err.(held); ok { // made right here, never wrapped
		c.next, c.down = time.Time{}, time.Time{}
		d.log.Warn("events wait", "installedApp", c.app, "because", h.Error())
		return false
	}
	if p, ok := err.(paced); ok { // likewise
		d.rest(c, p.wait)
		return false
	}
	wait := delay(c.failures + 1)
	f, down := err.(*appcall.Failure) // unwrapped, too
	if down {
		wait = d.failed(c, f)
	}
	c.failures++
	d.tel.Retried.WithLabelValues("down").Inc()
	d.rest(c, wait)
	d.log.Warn("delivery failed, trying again", "installedApp", c.app, "err", err, "failures", c.failures, "in", wait.Round(time.Millisecond))
	return down && d.downTooLong(c)
}

// downTooLong reports whether the cursor's endpoint has been down for so long that it is to be
// paused. The caller holds mu.
func (d *Dispatcher) downTooLong(c *cursor) bool {
	return time.Since(c.down) > time.Duration(c.how.PauseAfter) && time.Since(d.startedAt) > startGrace
}

// startGrace is how long no app is paused for being down after a start: the app may have been well
// while this server was not, or come up with it after a power cut, only later.
const startGrace = time.Hour

// giveUp pauses an app whose endpoint has been down for too long, and says so.
func (d *Dispatcher) giveUp(c *cursor) {
	d.mu.Lock()
	reason := fmt.Sprintf("its endpoint has been down since %s, and may be for %v (pauseAfter). The last failure: %s", c.down.UTC().Format(time.RFC3339), time.Duration(c.how.PauseAfter), c.failure)
	d.mu.Unlock()
	if err := d.home.Pause(d.ctx, c.app, reason); err != nil {
		d.log.Error("an app whose endpoint is down could not be paused", "installedApp", c.app, "err", err)
	}
}

// parcel is an event under the name of one subscription: what one entry of a call carries.
type parcel struct {
	event        *event.Event
	subscription *subscription.Subscription
	last         bool // of its event
}

// deliver sends each item's event once for each subscription, in order, as many in a call as the
// app takes. It skips those that an earlier attempt at the same event has served.
func (d *Dispatcher) deliver(c *cursor, batch []item) error {
	parcels := make([]parcel, 0, len(batch))
	for _, it := range batch {
		for i, s := range it.subscriptions {
			if _, done := c.partialDone[s.ID]; done && c.partial == it.event.Seq {
				continue
			}
			parcels = append(parcels, parcel{it.event, s, i == len(it.subscriptions)-1})
		}
	}
	alone := 0 // so many are sent one by one, to find which the app refuses
	var made line
	for len(parcels) > 0 {
		app, in, err := d.addressee(c)
		if err != nil || app == nil {
			return err
		}
		n, steady := min(len(parcels), c.most()), c.window == 0 && c.failures == 0
		if alone > 0 {
			n, alone, steady = 1, alone-1, false
		}
		if err := d.send(made.next(d, app, in, parcels, n, steady)); err != nil {
			f, ok := err.(*appcall.Failure) // Call returns it unwrapped
			switch {
			case ok && f.Status == http.StatusGone:
				if err := d.home.Pause(d.ctx, in.ID, f.Message); err != nil {
					return err
				}
				continue // it is held from now on, as the next turn sees
			case ok && isRefusal(f.Status) && n > 1:
				alone = n
				continue
			case !ok || !isRefusal(f.Status) || !d.refuse(in, parcels[0], f):
				return err
			}
		}
		d.advance(c, parcels[:n])
		parcels = parcels[n:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.complete(batch[len(batch)-1].event.Seq) // also when its last subscription is gone
	return nil
}

// errStopped says that nothing more is to be sent.
var errStopped = errors.New("deliveries end")

// addressee returns the app and the installed app as they are now, nil when they are gone, and why
// nothing may be sent there.
func (d *Dispatcher) addressee(c *cursor) (*apps.App, *apps.Installed, error) {
	in, ok := d.home.Installed(c.app)
	if !ok {
		return nil, nil, nil
	}
	app, ok := d.directory.App(in.App)
	if !ok {
		return nil, nil, nil
	}
	if err := Held(app, in); err != nil {
		return nil, nil, held{err}
	}
	d.mu.Lock()
	c.how = app.Delivery.WithDefaults()
	stopped := d.stopping || c.removed
	d.mu.Unlock()
	if stopped {
		return nil, nil, errStopped
	}
	return app, in, d.pace(in.ID)
}

// advance notes that the parcels are done with.
func (d *Dispatcher) advance(c *cursor, sent []parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.failures > 0 {
		d.log.Info("app answers again", "installedApp", c.app, "failures", c.failures, "behindFor", time.Since(c.since).Round(time.Millisecond))
	}
	d.answered(c)
	c.failures, c.failure, c.down, c.gathered = 0, "", time.Time{}, time.Time{}
	if c.window *= 2; c.window >= c.how.MaxEvents {
		c.window = 0
	}
	for _, p := range sent {
		if p.last {
			c.complete(p.event.Seq)
			continue
		}
		if c.partial != p.event.Seq {
			c.partial, c.partialDone = p.event.Seq, map[id.Subscription]struct{}{}
		}
		c.partialDone[p.subscription.ID] = struct{}{}
	}
}

// complete notes that everything up to the position is done with. The caller holds mu.
func (c *cursor) complete(position uint64) {
	c.partial, c.partialDone = 0, nil
	if c.behind {
		c.position = max(c.position, position)
		return
	}
	for len(c.queue) > 0 && c.queue[0].event.Seq <= position {
		c.queue = c.queue[1:]
	}
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
