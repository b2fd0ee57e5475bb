package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/problem"
)

// ReplayRequest says which past events go to an installed app again. The subscriptions are those
// of today, whenever they were made.
type ReplayRequest struct {
	Since       time.Time  `json:"since,omitzero"` // zero is as far back as the journal goes
	Until       time.Time  `json:"until,omitzero"` // zero is now
	Device      id.Device  `json:"deviceId,omitzero"`
	Events      []id.Event `json:"eventIds,omitempty"`    // only these
	DeadLetters bool       `json:"deadLetters,omitempty"` // only the app's dead letters; those that it takes are none any more
	URL         string     `json:"url,omitempty"`         // where to, instead of the app's target
	Rate        float64    `json:"rate,omitempty"`        // events a second; 0 is as fast as the app answers
}

// The states of a replay.
const (
	ReplayRunning  = "running"
	ReplayFinished = "finished"
	ReplayStopped  = "stopped" // by hand, or with the server
	ReplayFailed   = "failed"
)

// Replay is a replay as it stands. It is not kept over a restart.
type Replay struct {
	ID      id.Replay     `json:"replayId"`
	Request ReplayRequest `json:"request"`
	State   string        `json:"state"`
	Looked  int           `json:"looked"`  // events looked at
	Sent    int           `json:"sent"`    // that the app took
	Refused int           `json:"refused"` // that the app answered 4xx
	Started time.Time     `json:"started"`
	Ended   time.Time     `json:"ended,omitzero"`
	Message string        `json:"message,omitempty"` // why it failed, or waits

	stop context.CancelFunc
}

const (
	maxReplays     = 20 // kept of an app, running ones among them
	maxRunning     = 3
	replayPatience = 10 // failures in a row, over some two minutes
	replayBatch    = 200
)

// StartReplay begins to send past events to the installed app again, beside what happens.
func (d *Dispatcher) StartReplay(in *apps.Installed, r ReplayRequest) (Replay, error) {
	switch {
	case r.Rate < 0 || r.Rate > 10_000:
		return Replay{}, problem.Field("rate", "SizeError", "is %v; it is events a second, up to 10000, and 0 is as fast as the app answers", r.Rate)
	case !r.Until.IsZero() && r.Until.Before(r.Since):
		return Replay{}, problem.Field("until", "ConstraintViolationError", "is before since")
	case r.URL != "":
		if err := apps.CheckTarget("url", r.URL); err != nil {
			return Replay{}, err
		}
	}
	if r.URL == "" {
		app, ok := d.directory.App(in.App)
		if !ok {
			return Replay{}, problem.New(problem.NotFound, "The app of this installed app is gone.")
		}
		if err := Held(app, in); err != nil {
			return Replay{}, problem.New(problem.Constraint, "Nothing can be sent to the app: %v. Name another `url`, or mend that first.", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.replays[in.ID]
	running := 0
	for _, other := range list {
		if other.State == ReplayRunning {
			running++
		}
	}
	if running >= maxRunning {
		return Replay{}, problem.New(problem.Conflict, "%d replays to this app are running; wait for one to end, or stop it.", running)
	}
	if d.stopping {
		return Replay{}, problem.New(problem.Unavailable, "The server is stopping.")
	}
	if len(list) >= maxReplays {
		oldest := slices.IndexFunc(list, func(other *Replay) bool { return other.State != ReplayRunning })
		list = slices.Delete(slices.Clone(list), oldest, oldest+1)
	}
	ctx, stop := context.WithCancel(d.ctx)
	replay := &Replay{ID: id.New[id.Replay](), Request: r, State: ReplayRunning, Started: time.Now().UTC(), stop: stop}
	d.replays[in.ID] = append(list, replay)
	d.pumps.Go(func() { d.replay(ctx, in.ID, in.Location, replay) })
	return *replay, nil
}

// Replays returns the installed app's replays since the start, newest first.
func (d *Dispatcher) Replays(app id.InstalledApp) []Replay {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Replay
	for _, r := range slices.Backward(d.replays[app]) {
		list = append(list, *r)
	}
	return list
}

// StopReplay ends a replay, and reports whether there is one of the id.
func (d *Dispatcher) StopReplay(app id.InstalledApp, replay id.Replay) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.replays[app] {
		if r.ID == replay {
			r.stop()
			return true
		}
	}
	return false
}

func (d *Dispatcher) replay(ctx context.Context, app id.InstalledApp, at id.Location, r *Replay) {
	err := d.replayAll(ctx, app, at, r)
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Ended = time.Now().UTC()
	switch {
	case err == nil:
		r.State, r.Message = ReplayFinished, ""
	case ctx.Err() != nil:
		r.State = ReplayStopped
	default:
		r.State, r.Message = ReplayFailed, err.Error()
	}
	r.stop()
	d.log.Info("replay ended", "installedApp", app, "replay", r.ID, "state", r.State, "sent", r.Sent, "refused", r.Refused, "because", r.Message)
}

// replayAll sends what is asked for, one event after the other.
func (d *Dispatcher) replayAll(ctx context.Context, app id.InstalledApp, at id.Location, r *Replay) error {
	first, err := d.journal.First(ctx)
	if err != nil {
		return err
	}
	letters := map[id.Event][]*Refused{}
	for _, letter := range d.Refused(app) {
		if letter.Dead {
			letters[letter.Event] = append(letters[letter.Event], letter)
		}
	}
	d.mu.Lock()
	last := d.last[at]
	d.mu.Unlock()
	due := time.Now()
	for after := first - 1; after < last; {
		events, err := d.journal.Read(ctx, at, after, replayBatch)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if after = e.Seq; e.Seq > last {
				return nil
			}
			d.count(r, &r.Looked)
			if !r.Request.wants(e) || r.Request.DeadLetters && letters[e.ID] == nil {
				continue
			}
			for _, s := range d.home.MatchNow(app, e) {
				p := parcel{event: e, subscription: s, last: true}
				dead := slices.IndexFunc(letters[e.ID], func(l *Refused) bool { return l.Subscription == s.ID })
				if r.Request.DeadLetters && dead < 0 {
					continue
				}
				if err := wait(ctx, due); err != nil {
					return err
				}
				if r.Request.Rate > 0 {
					due = time.Now().Add(time.Duration(float64(time.Second) / r.Request.Rate))
				}
				taken, err := d.resend(ctx, app, p, r)
				if err != nil {
					return err
				}
				if taken && r.Request.DeadLetters && r.Request.URL == "" {
					d.mu.Lock()
					d.drop(letters[e.ID][dead])
					d.mu.Unlock()
				}
			}
		}
	}
	return nil
}

// wants reports whether the event is among those asked for, but for dead letters.
func (r *ReplayRequest) wants(e *event.Event) bool {
	return !e.Time.Before(r.Since) && (r.Until.IsZero() || !e.Time.After(r.Until)) &&
		(r.Device.IsZero() || e.About() == r.Device) && (len(r.Events) == 0 || slices.Contains(r.Events, e.ID))
}

func wait(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// count adds one to a number of the replay's.
func (d *Dispatcher) count(r *Replay, number *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*number++
	r.Message = ""
}

// resend sends one event until the app takes or refuses it, or is down for too long.
func (d *Dispatcher) resend(ctx context.Context, app id.InstalledApp, p parcel, r *Replay) (taken bool, err error) {
	for failures := 1; ; failures++ {
		in, ok := d.home.Installed(app)
		if !ok {
			return false, errors.New("the app was uninstalled")
		}
		a, ok := d.directory.App(in.App)
		if !ok {
			return false, errors.New("the app is gone")
		}
		if err := Held(a, in); err != nil && r.Request.URL == "" {
			return false, err
		}
		err := d.send(d.call(a, in, []parcel{p}, to{url: r.Request.URL, replay: r.ID.String()}))
		if err == nil {
			d.count(r, &r.Sent)
			return true, nil
		}
		if f, ok := err.(*appcall.Failure); ok && isRefusal(f.Status) { // Call returns it unwrapped
			d.count(r, &r.Refused)
			return false, nil
		}
		if failures >= replayPatience {
			return false, fmt.Errorf("%d attempts failed, the last because %w", failures, err)
		}
		d.mu.Lock()
		r.Message = "waits, because " + err.Error()
		d.mu.Unlock()
		if err := wait(ctx, time.Now().Add(delay(failures))); err != nil {
			return false, err
		}
	}
}
