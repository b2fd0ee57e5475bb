package delivery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/event"
	"hark/internal/scope"
)

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

// mayAgain is how long a server that may not send waits to ask again.
const mayAgain = 250 * time.Millisecond

// excerpt is how much of an answer the log of attempts keeps, in bytes.
const excerpt = 500

// send makes one attempt at a call, and notes it.
func (d *Dispatcher) send(c *call) error {
	if err := d.home.May(); err != nil {
		return paced{err, mayAgain}
	}
	if c.withheld != nil {
		d.note(c.withheld)
	}
	if len(c.allowed) == 0 {
		return nil
	}
	app, parcels := c.app, c.allowed
	ctx, span := d.tel.Call(d.ctx, "deliver", traces(parcels))
	a := &attempts.Attempt{MessageID: c.message.ID, Time: time.Now().UTC(), InstalledApp: c.in.ID, App: app.Name, Events: noted(parcels), Replay: c.message.Replay, Outcome: attempts.Delivered}
	answer, err := d.caller.Call(ctx, app, c.message)
	if err != nil && d.ctx.Err() != nil {
		span.End(err)
		return err // broken off by a stop, which says nothing about the app
	}
	a.Request = "POST " + cmp.Or(c.message.URL, app.TargetURL)
	a.Status, a.Latency, a.Response = answer.Status, latency(answer.Timing), string(answer.Body[:min(len(answer.Body), excerpt)])
	if err != nil {
		a.Outcome, a.Message = attempts.Failed, err.Error()
		if f, ok := errors.AsType[*appcall.Failure](err); ok && f.Status == unhandled && app.SmartApp() {
			a.Outcome, a.Message = attempts.Unhandled, "the app answered 422: it has no handler for the subscription's name"
			err = nil
		} else if ok && isRefusal(f.Status) {
			a.Outcome = attempts.Refused
		}
	}
	d.note(a)
	d.measure(a, parcels, answer.Timing)
	span.Set("hark.message", a.MessageID, "hark.app", app.Name, "hark.installedApp", a.InstalledApp, "hark.event", parcels[0].event.ID, "hark.events", len(parcels),
		"hark.outcome", a.Outcome, "http.response.status_code", a.Status, "url.full", a.Request[len("POST "):])
	span.End(err)
	return err
}

// traces returns the traces in which the parcels' events were caused.
func traces(parcels []parcel) (carried []string) {
	for _, p := range parcels {
		if p.event.Trace != "" {
			carried = append(carried, p.event.Trace)
		}
	}
	return carried
}

// measure tells telemetry how long an attempt took, and its events since they were taken.
func (d *Dispatcher) measure(a *attempts.Attempt, parcels []parcel, t appcall.Timing) {
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"dns", t.DNS}, {"connect", t.Connect}, {"tls", t.TLS}, {"firstByte", t.FirstByte}, {"total", t.Total}} {
		if part.took > 0 {
			d.tel.CallSeconds.WithLabelValues(part.name).Observe(part.took.Seconds())
		}
	}
	if a.Outcome != attempts.Delivered || a.Replay != "" {
		return
	}
	now := time.Now()
	for _, p := range parcels {
		d.tel.DelaySeconds.Observe(now.Sub(p.event.Taken).Seconds())
	}
}

// allowed returns the parcels that may be sent, and what to note of the others.
func (d *Dispatcher) allowed(in *apps.Installed, parcels []parcel) (allowed []parcel, withheld *attempts.Attempt) {
	for i, p := range parcels {
		err := Withheld(in, p.event)
		if err == nil {
			if withheld != nil {
				allowed = append(allowed, p)
			}
			continue
		}
		if withheld == nil {
			withheld = &attempts.Attempt{Time: time.Now().UTC(), InstalledApp: in.ID, Outcome: attempts.Withheld, Message: err.Error()}
			allowed = append(allowed, parcels[:i]...)
		}
		withheld.Events = append(withheld.Events, noted(parcels[i:i+1])...)
	}
	if withheld == nil {
		return parcels, nil
	}
	return allowed, withheld
}

// note counts an attempt, logs it, and hands it to the log of attempts.
func (d *Dispatcher) note(a *attempts.Attempt) {
	n := uint64(len(a.Events))
	level := slog.LevelDebug
	d.mu.Lock()
	switch a.Outcome {
	case attempts.Delivered:
		d.counters.Delivered += n
	case attempts.Unhandled:
		d.counters.Unhandled += n
		level = slog.LevelWarn
	case attempts.Withheld:
		d.counters.Withheld += n
		level = slog.LevelWarn
	case attempts.Failed:
		d.counters.Failed++
	}
	d.mu.Unlock()
	d.tel.Attempts.WithLabelValues(a.Outcome).Inc()
	d.tel.AttemptEvents.WithLabelValues(a.Outcome).Add(float64(n))
	if d.log.Enabled(d.ctx, level) {
		e := a.Events[0]
		log := d.log.With("app", a.App, "installedApp", a.InstalledApp, "event", e.ID, "subscription", e.Name, "events", n, "message", a.MessageID)
		if a.Latency != nil {
			log = log.With("status", a.Status, "ms", a.Latency.Total)
		}
		if a.Message != "" {
			log = log.With("because", a.Message)
		}
		log.Log(d.ctx, level, "event "+a.Outcome)
	}
	d.attempts.Add(a)
}

func noted(parcels []parcel) []attempts.Event {
	list := make([]attempts.Event, len(parcels))
	for i, p := range parcels {
		list[i] = attempts.Event{ID: p.event.ID, Position: p.event.Seq, Subscription: p.subscription.ID, Name: p.subscription.DeliveryName(), Device: p.event.About()}
	}
	return list
}

// messageID is the same for the same parcels, and for no others.
func messageID(parcels []parcel) string {
	h := sha256.New()
	for _, p := range parcels {
		h.Write(p.event.ID[:]) // a hash takes everything
		h.Write(p.subscription.ID[:])
	}
	return "msg_" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

func latency(t appcall.Timing) *attempts.Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &attempts.Latency{DNS: ms(t.DNS), Connect: ms(t.Connect), TLS: ms(t.TLS), FirstByte: ms(t.FirstByte), Total: ms(t.Total)}
}
