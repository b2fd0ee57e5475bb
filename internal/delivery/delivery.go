// Package delivery sends matched events to apps: each installed app is a cursor, a position
// in the journal up to which everything that it wanted has been delivered. A healthy app's
// events wait in a short queue in memory; an app that fails or falls behind costs its cursor
// alone, and is fed from the journal when it is well again. One app never delays another.
package delivery

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// Home is what delivery asks of the owner of the locations.
type Home interface {
	// May returns why nothing may be sent for now, nil when it may.
	May() error
	// Installed returns the installed app as it is now.
	Installed(id.InstalledApp) (*apps.Installed, bool)
	// Pause stops deliveries to the installed app until its owner resumes them.
	Pause(ctx context.Context, app id.InstalledApp, reason string) error
	// MatchFor returns the app's subscriptions that the event matched at its place in the
	// journal, in the order in which they were made.
	MatchFor(id.InstalledApp, *event.Event) []*subscription.Subscription
	// MatchNow returns those of today that the event would have matched, whenever they were made.
	MatchNow(id.InstalledApp, *event.Event) []*subscription.Subscription
}

// Apps is what delivery asks about apps.
type Apps interface {
	// App returns the app as it is now.
	App(id.App) (*apps.App, bool)
	// EventToken returns the token that goes with events to the installed app.
	EventToken(id.InstalledApp, time.Time) string
}

// Journal is where an app that is behind gets its events from.
type Journal interface {
	// Read returns up to limit events of the location after the position, in order.
	Read(ctx context.Context, at id.Location, after uint64, limit int) ([]*event.Event, error)
	// First returns the position of the oldest event kept.
	First(context.Context) (uint64, error)
}

// Caller makes calls to apps.
type Caller interface {
	// Prepare signs a call that is about to come.
	Prepare(context.Context, *apps.App, *appcall.Message) error
	Call(context.Context, *apps.App, appcall.Message) (appcall.Answer, error)
}

// Log takes note of attempts.
type Log interface{ Add(*attempts.Attempt) }

// maxQueue is how many events wait in memory for one app, or four calls' worth of them; with
// more it falls behind.
const maxQueue = 256

// How many events a cursor that is behind reads from the journal at a time: few at first, since
// the app may fail again, then ever more, since each read has its price, whatever it brings. All
// cursors together hold no more than some in memory before each reads few at a time again.
const (
	readAhead    = 64
	maxReadAhead = 1000
	maxHeld      = 50_000
)

// Dispatcher owns the cursors of one shard.
type Dispatcher struct {
	log       *slog.Logger
	directory Apps
	journal   Journal
	caller    Caller
	attempts  Log
	home      Home
	limits    limits.Limits
	tel       *telemetry.Telemetry

	ctx    context.Context // of deliveries; ends when stopping takes too long
	cancel context.CancelFunc
	pumps  sync.WaitGroup
	orders chan *call // to be made ahead
	makers sync.WaitGroup

	mu         sync.Mutex
	cursors    map[id.InstalledApp]*cursor // only of apps for which something waits
	endpoints  map[id.App]*endpoint        // only of those where the last call failed
	last       map[id.Location]uint64      // position of each location's newest event
	dispatched uint64                      // every event up to here has been offered
	held       atomic.Int64                // items that cursors have read ahead
	caughtUp   map[id.InstalledApp]bool    // their stored cursors are to be deleted
	executions limits.Windows
	refused    map[id.InstalledApp]refusedBy
	changed    map[string]*Refused // not stored yet; nil is gone
	retryTimer *time.Timer
	retryAt    time.Time
	retrying   map[id.InstalledApp]bool // a goroutine tries the app's refused events
	replays    map[id.InstalledApp][]*Replay
	gaps       map[id.InstalledApp][]Gap
	newGaps    map[id.InstalledApp][]Gap // not stored yet
	started    bool
	startedAt  time.Time
	stopping   bool
	counters   Counters
}

// Counters count since the start.
type Counters struct {
	Delivered uint64 // answered 2xx
	Unhandled uint64 // answered 422 by a SmartApp: it has no handler
	Withheld  uint64 // not sent, because a scope was missing
	Failed    uint64 // attempts that failed because the endpoint is down
	Refused   uint64 // events that an app answered 4xx
	Dead      uint64 // of these, those that were not tried any more
}

// cursor is one installed app's place in the journal. Its fields are guarded by the
// dispatcher's mu, except that the pump alone uses what it reads ahead.
type cursor struct {
	app      id.InstalledApp
	endpoint id.App // whose app it is, once it was called
	location id.Location
	queue    []item // when not behind: what waits, the one under way first
	behind   bool   // fed from the journal after position
	position uint64 // when behind: everything up to here is done
	stored   Place  // what the cursor's record says; zero without a record
	running  bool   // a pump is at work
	removed  bool   // the app is gone
	timer    *time.Timer

	how       apps.Delivery // the settings when it last sent
	gathered  time.Time     // when what gathers goes out
	gathering bool          // a timer will send what gathers

	since    time.Time // when it fell behind
	down     time.Time // when the endpoint first failed of late
	failures int       // in a row
	failure  string    // the last one, in words
	next     time.Time // when it is tried again
	window   int       // events in a call: one in a probe, then ever more; 0 is as many as the app takes

	partial     uint64                       // position of an event of which some are delivered already,
	partialDone map[id.Subscription]struct{} // and for which subscriptions
	ahead       []item                       // read from the journal
	reading     int                          // so many at a time
	coming      chan read                    // the next ones; nil when nobody reads them yet
}

// item is an event and the app's subscriptions that it matched.
type item struct {
	event         *event.Event
	subscriptions []*subscription.Subscription
}

// New returns a dispatcher that delivers nothing until it is told of events.
func New(ctx context.Context, log *slog.Logger, dir Apps, j Journal, caller Caller, noting Log, home Home, guardrails limits.Limits, tel *telemetry.Telemetry) *Dispatcher {
	d := &Dispatcher{
		log: log.With("component", "delivery"), directory: dir, journal: j, caller: caller, attempts: noting, home: home, limits: guardrails, tel: tel,
		orders: make(chan *call, maxOrders), cursors: map[id.InstalledApp]*cursor{}, endpoints: map[id.App]*endpoint{}, last: map[id.Location]uint64{}, caughtUp: map[id.InstalledApp]bool{},
		gaps: map[id.InstalledApp][]Gap{}, newGaps: map[id.InstalledApp][]Gap{},
		refused: map[id.InstalledApp]refusedBy{}, replays: map[id.InstalledApp][]*Replay{}, changed: map[string]*Refused{}, retrying: map[id.InstalledApp]bool{},
	}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx)) // Stop ends it, after what is under way
	return d
}

// Place is where an installed app that is behind stands.
type Place struct {
	Position uint64    `json:"position"`      // everything up to here is done
	Since    time.Time `json:"since"`         // when it fell behind
	Down     time.Time `json:"down,omitzero"` // since when its endpoint has been down
}

// Restore sets the place of an installed app that was behind when its cursor was stored.
// It comes before Start.
func (d *Dispatcher) Restore(app id.InstalledApp, location id.Location, at Place) {
	d.cursors[app] = &cursor{app: app, location: location, behind: true, position: at.Position, stored: at, since: at.Since, down: at.Down}
}

// RestoreGap notes a gap of before. It comes before Start.
func (d *Dispatcher) RestoreGap(app id.InstalledApp, g Gap) { d.gaps[app] = append(d.gaps[app], g) }

// RestoreLast sets the position of a location's newest event. It comes before Start.
func (d *Dispatcher) RestoreLast(location id.Location, position uint64) { d.last[location] = position }

// Reach says that every event up to the position has been offered, or is before the low-water
// mark. It comes before Start.
func (d *Dispatcher) Reach(position uint64) { d.dispatched = max(d.dispatched, position) }

// Start lets what was restored and offered so far go out.
func (d *Dispatcher) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started, d.startedAt = true, time.Now()
	for range lineLength {
		d.makers.Go(d.makeAhead)
	}
	for _, c := range d.cursors {
		d.start(c)
	}
	d.alarm()
}

// Offer takes durable events in journal order, each with the subscriptions that it matched.
// It puts these in another order, keeps none of the list, and does not block.
func (d *Dispatcher) Offer(e *event.Event, matched []*subscription.Subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[e.Location] = e.Seq
	d.dispatched = e.Seq
	slices.SortStableFunc(matched, func(a, b *subscription.Subscription) int { return bytes.Compare(a.App[:], b.App[:]) })
	for len(matched) > 0 {
		n := 1
		for n < len(matched) && *matched[n].App == *matched[0].App {
			n++
		}
		d.offer(*matched[0].App, item{e, slices.Clone(matched[:n])})
		matched = matched[n:]
	}
}

func (d *Dispatcher) offer(app id.InstalledApp, it item) {
	c := d.cursors[app]
	if c == nil {
		c = &cursor{app: app, location: it.event.Location}
		d.cursors[app] = c
	}
	switch {
	case c.behind: // it will read the event from the journal
		return
	case len(c.queue) >= max(maxQueue, 4*c.how.MaxEvents):
		c.fallBehind()
		return
	}
	c.queue = append(c.queue, it)
	if !c.gathering || len(c.queue) >= c.how.MaxEvents {
		d.start(c)
	}
}

// start makes a pump work for the cursor. The caller holds mu.
func (d *Dispatcher) start(c *cursor) {
	if c.running || !d.started || d.stopping || c.removed {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.running, c.gathering = true, false
	d.pumps.Go(func() { d.pump(c) })
}

// fallBehind drops the queue: from now on the cursor is fed from the journal.
func (c *cursor) fallBehind() {
	if c.behind {
		return
	}
	c.position = c.done()
	c.behind, c.since, c.queue = true, time.Now(), nil
}

// Wake tries an app again now, because what held it back may have changed.
func (d *Dispatcher) Wake(app id.InstalledApp) {
	d.mu.Lock()
	if c := d.cursors[app]; c != nil {
		delete(d.endpoints, c.endpoint)
	}
	d.mu.Unlock()
	d.wake(app)
}

// wake has a cursor go on.
func (d *Dispatcher) wake(app id.InstalledApp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.cursors[app]; c != nil {
		c.next = time.Time{}
		d.start(c)
	}
}

// Remove forgets an app that is uninstalled, with what waits for it.
func (d *Dispatcher) Remove(app id.InstalledApp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.cursors[app]; c != nil {
		c.removed = true
		if c.timer != nil {
			c.timer.Stop()
		}
		delete(d.cursors, app)
		d.leave(c)
	}
	for _, r := range d.replays[app] {
		r.stop()
	}
	delete(d.replays, app)
	delete(d.caughtUp, app)
	delete(d.gaps, app)
	delete(d.newGaps, app)
	for _, r := range d.refused[app] {
		d.drop(r)
	}
}

// Forget forgets a location, in which no app is installed.
func (d *Dispatcher) Forget(location id.Location) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.last, location)
}

// Gap says that events outlived the journal's retention before an app took them: those of
// its location between two positions, if there were any that it wanted.
type Gap struct {
	After       uint64    `json:"after"`  // the last position that the app had taken
	Before      uint64    `json:"before"` // the oldest that the journal still had
	BehindSince time.Time `json:"behindSince"`
	Noted       time.Time `json:"noted"`
}

// Gaps returns the installed app's gaps, oldest first.
func (d *Dispatcher) Gaps(app id.InstalledApp) []Gap {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Gap(nil), d.gaps[app]...)
}

// Checkpoint is what must be durable for deliveries to go on after a crash: apps without a
// cursor of their own go on after LowWater.
type Checkpoint struct {
	LowWater uint64
	Cursors  map[id.InstalledApp]Place // those that changed
	Deleted  []id.InstalledApp         // those that are no longer needed
	Gaps     map[id.InstalledApp][]Gap // new ones
	Refused  map[string]*Refused       // those that changed, by key; nil is gone
}

// Checkpoint returns what changed since the last one. The caller stores it, all or nothing
// and in order.
func (d *Dispatcher) Checkpoint() Checkpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	cp := Checkpoint{LowWater: d.dispatched, Cursors: map[id.InstalledApp]Place{}}
	for app, c := range d.cursors {
		if !c.behind {
			if len(c.queue) > 0 {
				cp.LowWater = min(cp.LowWater, c.queue[0].event.Seq-1)
			}
			continue
		}
		delete(d.caughtUp, app)
		if at := (Place{c.position, c.since, c.down}); c.stored != at {
			c.stored = at
			cp.Cursors[app] = at
		}
	}
	for app := range d.caughtUp {
		cp.Deleted = append(cp.Deleted, app)
	}
	clear(d.caughtUp)
	cp.Gaps, d.newGaps = d.newGaps, map[id.InstalledApp][]Gap{}
	cp.Refused, d.changed = d.changed, map[string]*Refused{}
	return cp
}

// Stop ends delivery: what is under way is finished, or broken off when ctx ends. What
// still waits is behind then, and in the next Checkpoint.
func (d *Dispatcher) Stop(ctx context.Context) {
	d.mu.Lock()
	d.stopping = true
	for _, list := range d.replays {
		for _, r := range list {
			r.stop()
		}
	}
	if d.retryTimer != nil {
		d.retryTimer.Stop()
	}
	for _, c := range d.cursors {
		if c.timer != nil {
			c.timer.Stop()
		}
	}
	d.mu.Unlock()
	done := make(chan struct{})
	go func() { d.pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		d.cancel()
		<-done
	}
	d.cancel()
	close(d.orders)
	d.makers.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for app, c := range d.cursors {
		if !c.behind && len(c.queue) == 0 {
			delete(d.cursors, app)
		} else {
			c.fallBehind()
		}
	}
}

// The states of an installed app's deliveries.
const (
	Current    = "current"    // nothing waits
	Delivering = "delivering" // events are on their way
	Waiting    = "waiting"    // the next attempt is later, or something holds the app back
	Paused     = "paused"     // nothing goes out until somebody resumes it
)

// Status is where an installed app's deliveries stand.
type Status struct {
	State       string    `json:"state"`
	Position    uint64    `json:"position"`
	Newest      uint64    `json:"newestEvent"`
	Queued      int       `json:"queued"`
	BehindSince time.Time `json:"behindSince,omitzero"`
	DownSince   time.Time `json:"downSince,omitzero"`
	Failures    int       `json:"failures"`
	LastFailure string    `json:"lastFailure,omitempty"`
	NextAttempt time.Time `json:"nextAttempt,omitzero"`
	Refused     int       `json:"refused"`     // events that wait to be tried again
	DeadLetters int       `json:"deadLetters"` // events that are not tried any more
}

// Status returns where the installed app's deliveries stand.
func (d *Dispatcher) Status(in *apps.Installed) Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{State: Current, Position: d.last[in.Location], Newest: d.last[in.Location]}
	s.Refused, s.DeadLetters = d.refused[in.ID].count()
	if c := d.cursors[in.ID]; c.waits() {
		s.State, s.Position, s.Queued, s.DownSince, s.Failures, s.LastFailure = Delivering, c.done(), len(c.queue), c.down, c.failures, c.failure
		if c.behind {
			s.BehindSince = c.since
			if !c.running {
				s.State, s.NextAttempt = Waiting, c.next
			}
		}
	}
	if in.Paused != nil {
		s.State, s.NextAttempt = Paused, time.Time{}
	}
	return s
}

// Waits reports whether something waits for the installed app; up to done it has everything then.
func (d *Dispatcher) Waits(app id.InstalledApp) (done uint64, waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.cursors[app]; c.waits() {
		return c.done(), true
	}
	return 0, false
}

// waits reports whether something waits. The caller holds mu.
func (c *cursor) waits() bool { return c != nil && (c.behind || len(c.queue) > 0) }

// done returns the position up to which the app has everything, while something waits. The caller
// holds mu.
func (c *cursor) done() uint64 {
	if c.behind {
		return c.position
	}
	return c.queue[0].event.Seq - 1
}

// Counters returns the counts since the start.
func (d *Dispatcher) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters
}
