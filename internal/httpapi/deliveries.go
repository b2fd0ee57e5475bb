package httpapi

import (
	"slices"
	"strconv"
	"time"

	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/delivery"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/signature"
)

// deliveryView is where an installed app's deliveries stand.
type deliveryView struct {
	InstalledAppID id.InstalledApp `json:"installedAppId"`
	TargetURL      string          `json:"targetUrl"`
	TargetStatus   string          `json:"targetStatus"`
	HeldBecause    string          `json:"heldBecause,omitempty"`
	delivery.Status
	Gaps []delivery.Gap `json:"gaps,omitempty"`
}

func (c *call) deliveryStatus() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	v := deliveryView{InstalledAppID: in.ID, Status: c.shard.Delivery().Status(in), Gaps: c.shard.Delivery().Gaps(in.ID)}
	if a, ok := c.directory.App(in.App); ok {
		v.TargetURL, v.TargetStatus = a.TargetURL, a.TargetStatus
		if err := delivery.Held(a, in); err != nil {
			v.HeldBecause = err.Error()
		}
	}
	return v, nil
}

// pause and resume stop deliveries to an installed app, and let them go on.
func (c *call) pause() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Reason == "" {
		body.Reason = c.principal.Name + " asked for it"
	}
	if err := c.shard.Pause(c.Context(), in.ID, body.Reason); err != nil {
		return nil, err
	}
	return c.deliveryStatus()
}

func (c *call) resume() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	if err := c.shard.Resume(c.Context(), in.ID); err != nil {
		return nil, err
	}
	return c.deliveryStatus()
}

// listRefused shows the events that the app refused, dead letters among them.
func (c *call) listRefused() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	return paged(c, c.shard.Delivery().Refused(in.ID), func(r *delivery.Refused) any { return r })
}

// refusedEvent returns the event whose attempts are meant: that in the path, or all.
func (c *call) refusedEvent() (only id.Event, err error) {
	if c.PathValue("event") == "" {
		return only, nil
	}
	return pathID[id.Event](c, "event")
}

func (c *call) retryRefused() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	only, err := c.refusedEvent()
	if err != nil {
		return nil, err
	}
	return counted{c.shard.Delivery().RetryRefused(in.ID, only)}, nil
}

func (c *call) forgetRefused() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	only, err := c.refusedEvent()
	if err != nil {
		return nil, err
	}
	return counted{c.shard.Delivery().ForgetRefused(in.ID, only)}, nil
}

func (c *call) startReplay() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	var body delivery.ReplayRequest
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.shard.Delivery().StartReplay(in, body)
}

func (c *call) listReplays() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	return paged(c, c.shard.Delivery().Replays(in.ID), func(r delivery.Replay) any { return r })
}

// findReplay returns the replay in the path, to who may do so with the installed app.
func (c *call) findReplay(verb string) (delivery.Replay, id.InstalledApp, error) {
	in, err := c.findInstalled(verb)
	if err != nil {
		return delivery.Replay{}, id.InstalledApp{}, err
	}
	replay, err := pathID[id.Replay](c, "replay")
	if err != nil {
		return delivery.Replay{}, in.ID, err
	}
	for _, r := range c.shard.Delivery().Replays(in.ID) {
		if r.ID == replay {
			return r, in.ID, nil
		}
	}
	return delivery.Replay{}, in.ID, problem.New(problem.NotFound, "There is no replay with the id %s of this installed app; replays are not kept over a restart.", replay).At("replay")
}

func (c *call) getReplay() (any, error) {
	r, _, err := c.findReplay("r")
	return r, err
}

func (c *call) stopReplay() (any, error) {
	r, app, err := c.findReplay("w")
	if err != nil {
		return nil, err
	}
	c.shard.Delivery().StopReplay(app, r.ID)
	return nothing{}, nil
}

// listDeliveries answers attempts to deliver, newest first; with after, oldest first.
func (c *call) listDeliveries() (any, error) {
	q := c.query()
	query := attempts.Query{Outcome: q.Get("outcome")}
	if query.Outcome != "" && !slices.Contains(attempts.Outcomes, query.Outcome) {
		return nil, problem.New(problem.Invalid, "The parameter outcome is %.40q, not one of %v.", query.Outcome, attempts.Outcomes).At("outcome").Coded("PatternError")
	}
	var err error
	if query.InstalledApp, _, err = queryID[id.InstalledApp](c, "installedAppId"); err != nil {
		return nil, err
	}
	if query.Device, _, err = queryID[id.Device](c, "deviceId"); err != nil {
		return nil, err
	}
	if query.Event, _, err = queryID[id.Event](c, "eventId"); err != nil {
		return nil, err
	}
	for name, at := range map[string]*time.Time{"since": &query.Since, "until": &query.Until} {
		if text := q.Get(name); text != "" {
			if *at, err = time.Parse(time.RFC3339, text); err != nil {
				return nil, problem.New(problem.Invalid, "The parameter %s is %.40q, not a time such as 2026-01-02T03:04:05Z.", name, text).At(name).Coded("PatternError")
			}
		}
	}
	for name, at := range map[string]*uint64{"before": &query.Before, "after": &query.After} {
		if text := q.Get(name); text != "" {
			if *at, err = strconv.ParseUint(text, 10, 63); err != nil {
				return nil, problem.New(problem.Invalid, "The parameter %s is %.40q, not an attemptId.", name, text).At(name).Coded("PatternError")
			}
		}
	}
	size, err := c.number("max", pageSize)
	if err != nil {
		return nil, err
	}
	found, next, err := c.shard.FindAttempts(c.Context(), c.principal, query, min(max(size, 1), pageSize))
	if err != nil {
		return nil, err
	}
	if found == nil {
		found = []*attempts.Attempt{}
	}
	p := page{Items: found}
	if next > 0 {
		name := "before"
		if query.After > 0 {
			name = "after"
		}
		q.Set(name, strconv.FormatUint(next, 10))
		p.Links.Next = &link{c.origin() + c.URL.EscapedPath() + "?" + q.Encode()}
	}
	return p, nil
}

// settingsView is how events go to an app.
type settingsView struct {
	apps.Delivery
	Effective apps.Delivery `json:"effective"` // with the defaults
}

func viewDelivery(a *apps.App) settingsView {
	v := settingsView{Delivery: a.Delivery, Effective: a.Delivery.WithDefaults()}
	v.Effective.Secret, v.Effective.OldSecret, v.Effective.OldSecretEnds = "", "", time.Time{} // said once is enough
	return v
}

func (c *call) getDeliverySettings() (any, error) {
	a, err := c.directory.OwnApp(c.principal, c.PathValue("app")) // there is a secret in it
	if err != nil {
		return nil, err
	}
	return viewDelivery(a), nil
}

// oldSecretLife is how long the secret before a new one signs too.
const oldSecretLife = 24 * time.Hour

func (c *call) setDeliverySettings() (any, error) {
	var body apps.Delivery
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.changeDelivery(func(d *apps.Delivery) {
		before := *d
		*d = body
		d.OldSecret, d.OldSecretEnds = before.OldSecret, before.OldSecretEnds
		switch {
		case d.Secret == "" && before.Secret != "":
			d.Secret = before.Secret
		case d.Secret == "" && d.Signs(apps.SignStandard):
			d.Secret = signature.NewSecret()
		case before.Secret != "" && d.Secret != before.Secret:
			d.OldSecret, d.OldSecretEnds = before.Secret, time.Now().UTC().Add(oldSecretLife)
		}
	})
}

func (c *call) rotateSecret() (any, error) {
	return c.changeDelivery(func(d *apps.Delivery) {
		if d.Secret != "" {
			d.OldSecret, d.OldSecretEnds = d.Secret, time.Now().UTC().Add(oldSecretLife)
		}
		d.Secret = signature.NewSecret()
	})
}

func (c *call) changeDelivery(change func(*apps.Delivery)) (any, error) {
	a, err := c.directory.UpdateApp(c.Context(), c.principal, c.PathValue("app"), func(a *apps.App) error {
		change(&a.Delivery)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return viewDelivery(a), nil
}

type keyView struct {
	KeyID       string              `json:"keyId"`
	Algorithm   signature.Algorithm `json:"algorithm"`
	Created     time.Time           `json:"created"`
	Current     bool                `json:"current"` // it signs
	Certificate string              `json:"certificate"`
}

func viewKeys(keys []*signature.Key) any {
	list := []keyView{}
	newest := map[signature.Algorithm]bool{}
	for _, k := range keys {
		list = append(list, keyView{k.ID(), k.Algorithm, k.Created, !newest[k.Algorithm], k.Certificate()})
		newest[k.Algorithm] = true
	}
	return page{Items: list}
}

func (c *call) listKeys() (any, error) {
	keys, err := c.directory.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	return viewKeys(keys), nil
}

func (c *call) rotateKeys() (any, error) {
	keys, err := c.directory.RotateKeys(c.Context(), c.principal)
	if err != nil {
		return nil, err
	}
	return viewKeys(keys), nil
}
