package delivery

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/id"
)

// Refused is an event that an app answered with a 4xx: the event's fault, not that of the app's
// endpoint. It is tried again on a schedule, while the app moves on.
type Refused struct {
	InstalledApp id.InstalledApp `json:"installedAppId"`
	Location     id.Location     `json:"locationId"`
	Event        id.Event        `json:"eventId"`
	Position     uint64          `json:"position"`
	Subscription id.Subscription `json:"subscriptionId"`
	Name         string          `json:"subscriptionName"`
	Attempts     int             `json:"attempts"`
	First        time.Time       `json:"firstAttempt"`
	Last         time.Time       `json:"lastAttempt"`
	Failure      string          `json:"failure"`
	Next         time.Time       `json:"nextAttempt,omitzero"`
	Dead         bool            `json:"dead"` // it is not tried any more

	due time.Time // Next by the monotonic clock, which nobody sets
}

// tryIn sets when it is tried again.
func (r *Refused) tryIn(wait time.Duration) {
	r.due = time.Now().Add(wait)
	r.Next = r.due.UTC()
}

// Key tells an app's refused events apart.
func (r *Refused) Key() string {
	return r.InstalledApp.String() + "." + r.Event.String() + "." + r.Subscription.String()
}

// Bounds for one app.
const (
	// maxRefused is how many events may wait to be tried again: an app that refuses more is taken
	// for down, and nothing is skipped.
	maxRefused = 1000
	// maxDead is how many dead letters are kept; the oldest go first.
	maxDead = 1000
)

// refusedBy is one app's refused events. The values are replaced, never changed.
type refusedBy map[string]*Refused

func (b refusedBy) count() (waiting, dead int) {
	for _, r := range b {
		if r.Dead {
			dead++
		} else {
			waiting++
		}
	}
	return waiting, dead
}

// isRefusal reports whether an answer is about the event, and not about the endpoint.
func isRefusal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusGone:
		return false
	}
	return status >= 400 && status <= 499
}

// refuse notes that the app refused an event, and reports false when it refuses too many.
func (d *Dispatcher) refuse(in *apps.Installed, p parcel, failure *appcall.Failure) bool {
	schedule := d.how(in.ID).Retries
	now := time.Now().UTC()
	d.mu.Lock()
	defer d.mu.Unlock()
	if waiting, _ := d.refused[in.ID].count(); waiting >= maxRefused {
		return false
	}
	d.counters.Refused++
	r := &Refused{InstalledApp: in.ID, Location: in.Location, Event: p.event.ID, Position: p.event.Seq, Subscription: p.subscription.ID, Name: p.subscription.DeliveryName(), First: now}
	d.again(r, schedule, failure.Message, now)
	return true
}

// again notes an attempt that was refused: when the next one is, or that there is none. The
// caller holds mu.
func (d *Dispatcher) again(old *Refused, schedule []apps.Duration, failure string, now time.Time) {
	r := *old
	r.Attempts, r.Last, r.Failure = r.Attempts+1, now, failure
	if r.Attempts > len(schedule) {
		d.bury(&r)
		return
	}
	d.tel.Retried.WithLabelValues("refused").Inc()
	wait := time.Duration(schedule[r.Attempts-1])
	r.tryIn(wait + rand.N(wait/10+1))
	d.keep(&r)
	d.log.Warn("the app refused an event; it is tried again while the app moves on", "installedApp", r.InstalledApp, "event", r.Event, "subscription", r.Name, "failure", failure,
		"attempts", r.Attempts, "next", r.Next)
	d.alarmAt(r.due)
}

// bury makes a refused event a dead letter. The caller holds mu.
func (d *Dispatcher) bury(r *Refused) {
	r.Dead, r.Next = true, time.Time{}
	d.counters.Dead++
	d.keep(r)
	d.log.Error("an event is a dead letter: the app refused it to the end", "installedApp", r.InstalledApp, "event", r.Event, "subscription", r.Name, "failure", r.Failure, "attempts", r.Attempts)
	if _, dead := d.refused[r.InstalledApp].count(); dead > maxDead {
		oldest := r
		for _, other := range d.refused[r.InstalledApp] {
			if other.Dead && other.Position < oldest.Position {
				oldest = other
			}
		}
		d.log.Error("the oldest dead letter is dropped: there are too many", "installedApp", oldest.InstalledApp, "event", oldest.Event)
		d.drop(oldest)
	}
}

// keep stores a refused event, with the next checkpoint durably. The caller holds mu.
func (d *Dispatcher) keep(r *Refused) {
	if d.refused[r.InstalledApp] == nil {
		d.refused[r.InstalledApp] = refusedBy{}
	}
	d.refused[r.InstalledApp][r.Key()] = r
	d.changed[r.Key()] = r
}

// drop forgets a refused event. The caller holds mu.
func (d *Dispatcher) drop(r *Refused) {
	delete(d.refused[r.InstalledApp], r.Key())
	if len(d.refused[r.InstalledApp]) == 0 {
		delete(d.refused, r.InstalledApp)
	}
	d.changed[r.Key()] = nil
}

// RestoreRefused notes a refused event of before. It comes before Start. Nothing waits for longer
// than was meant because the clock is set back, before or after.
func (d *Dispatcher) RestoreRefused(r *Refused) {
	if from := time.Now(); !r.Dead {
		if from.Before(r.Last) {
			from = r.Last
		}
		r.tryIn(r.Next.Sub(from))
	}
	d.keep(r)
	delete(d.changed, r.Key())
}

// Refused returns the installed app's refused events and dead letters, oldest first.
func (d *Dispatcher) Refused(app id.InstalledApp) []*Refused {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*Refused, 0, len(d.refused[app]))
	for _, r := range d.refused[app] {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *Refused) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// FindRefused returns what became of an event that the app refused, nil for none.
func (d *Dispatcher) FindRefused(app id.InstalledApp, e id.Event, s id.Subscription) *Refused {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused[app][(&Refused{InstalledApp: app, Event: e, Subscription: s}).Key()]
}

// RetryRefused tries the installed app's refused events now, dead letters too: those of an event,
// or all for the zero id. It returns how many.
func (d *Dispatcher) RetryRefused(app id.InstalledApp, only id.Event) (count int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, old := range d.refused[app] {
		if only.IsZero() || old.Event == only {
			r := *old
			r.Dead = false
			r.tryIn(0)
			if old.Dead {
				r.Attempts = 0 // a schedule of its own
			}
			d.keep(&r)
			count++
		}
	}
	d.alarm()
	return count
}

// ForgetRefused gives up on the installed app's refused events: those of an event, or all for
// the zero id. It returns how many.
func (d *Dispatcher) ForgetRefused(app id.InstalledApp, only id.Event) (count int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.refused[app] {
		if only.IsZero() || r.Event == only {
			d.drop(r)
			count++
		}
	}
	return count
}

// alarm sets the timer for the next refused event that is due. The caller holds mu.
func (d *Dispatcher) alarm() {
	var next time.Time
	for app, by := range d.refused {
		if d.retrying[app] {
			continue // who is at it sets the alarm in the end
		}
		for _, r := range by {
			if !r.Dead && (next.IsZero() || r.due.Before(next)) {
				next = r.due
			}
		}
	}
	if d.retryTimer != nil {
		d.retryTimer.Stop()
	}
	if d.retryAt = next; !next.IsZero() && d.started && !d.stopping {
		d.retryTimer = time.AfterFunc(max(time.Until(next), 0), d.retryDue)
	}
}

// alarmAt is alarm for one more that is due at a time. The caller holds mu.
func (d *Dispatcher) alarmAt(at time.Time) {
	if d.retryAt.IsZero() || at.Before(d.retryAt) {
		d.alarm()
	}
}

// due returns the app's refused event that is due longest, nil for none. The caller holds mu.
func (b refusedBy) due(now time.Time) *Refused {
	var due *Refused
	for _, r := range b {
		if !r.Dead && !r.due.After(now) && (due == nil || r.due.Before(due.due)) {
			due = r
		}
	}
	return due
}

// retryDue has the refused events tried that are due, each app's by a goroutine of its own: one
// app never delays another.
func (d *Dispatcher) retryDue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return
	}
	for app, by := range d.refused {
		if !d.retrying[app] && by.due(time.Now()) != nil {
			d.retrying[app] = true
			d.pumps.Go(func() { d.retryApp(app) })
		}
	}
	d.alarm()
}

// retryApp tries the app's refused events that are due, one after the other.
func (d *Dispatcher) retryApp(app id.InstalledApp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		due := d.refused[app].due(time.Now())
		if due == nil || d.stopping {
			delete(d.retrying, app)
			d.alarm()
			return
		}
		d.mu.Unlock()
		schedule := d.how(app).Retries
		how, err := d.retry(d.ctx, due)
		d.mu.Lock()
		if d.refused[app][due.Key()] != due {
			continue // somebody changed it meanwhile
		}
		r := *due
		switch how {
		case settled:
			d.drop(due)
		case refusedAgain:
			d.again(due, schedule, err.Error(), time.Now().UTC())
		case hopeless:
			r.Failure = err.Error()
			d.bury(&r)
		case later:
			r.tryIn(lastDelay)
			d.keep(&r)
		}
	}
}

// outcome is how another attempt at a refused event ended.
type outcome int

const (
	settled      outcome = iota // delivered, or nobody wants it any more
	refusedAgain                // the app refused it again
	later                       // the endpoint is down, or something holds the app back: this attempt does not count
	hopeless                    // it cannot be tried any more
)

func (d *Dispatcher) retry(ctx context.Context, r *Refused) (outcome, error) {
	in, ok := d.home.Installed(r.InstalledApp)
	if !ok {
		return settled, nil
	}
	app, ok := d.directory.App(in.App)
	if !ok || Held(app, in) != nil {
		return later, nil
	}
	events, err := d.journal.Read(ctx, r.Location, r.Position-1, 1)
	if err != nil {
		return later, err
	}
	if len(events) == 0 || events[0].ID != r.Event {
		return hopeless, fmt.Errorf("the event has left the journal (--retention); the app's last answer was: %s", r.Failure)
	}
	for _, s := range d.home.MatchFor(r.InstalledApp, events[0]) {
		if s.ID != r.Subscription {
			continue
		}
		err := d.send(d.call(app, in, []parcel{{event: events[0], subscription: s}}, to{}))
		if f, ok := err.(*appcall.Failure); ok && isRefusal(f.Status) { // Call returns it unwrapped
			return refusedAgain, err
		}
		if err != nil {
			return later, err
		}
		return settled, nil
	}
	return settled, nil // the subscription was deleted
}
