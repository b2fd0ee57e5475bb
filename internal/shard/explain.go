package shard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"hark/internal/delivery"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// Verdicts on a subscription and an event.
const (
	NotMatched = "not matched" // the event is not for the subscription
	NotAllowed = "withheld"    // it is, but the app lacks the scope
	Waiting    = "waiting"     // it will be sent when what holds the app back ends
	Delivered  = "delivered"   // the app's position is past it
	DeadLetter = "dead letter" // the app refused it to the end
	WouldSend  = "would be sent"
)

// Explanation says what becomes of an event for one subscription, and why.
type Explanation struct {
	InstalledApp id.InstalledApp            `json:"installedAppId"`
	App          string                     `json:"appName"`
	Subscription *subscription.Subscription `json:"subscription"`
	Verdict      string                     `json:"verdict"`
	Why          string                     `json:"why"`
	Sends        any                        `json:"sends,omitempty"` // the event as the app gets it, when it matches
}

// explainNewest is how many positions of the journal an event is looked for in.
const explainNewest = 1_000_000

// FindEvent returns a past event of a device or location that the principal may read.
func (s *Shard) FindEvent(ctx context.Context, p scope.Principal, want id.Event) (*event.Event, error) {
	e, ok, err := s.journal.Find(ctx, want, explainNewest)
	if err != nil {
		return nil, err
	}
	if ok {
		err = e.ShownTo(p)
	}
	if !ok || err == nil && !p.Sees(e.Location) {
		return nil, problem.New(problem.NotFound, "There is no event with the id %s among the newest %d positions of the journal.", want, explainNewest).At("eventId")
	}
	return e, err
}

// Imagine returns the event that a report would cause if it came now, without causing it.
func (s *Shard) Imagine(p scope.Principal, r Report) (*event.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkReport(p, &r); err != nil {
		return nil, err
	}
	e := s.compose(r)
	e.Seq = s.journal.Last() + 1
	return e, nil
}

// Explain says for each subscription of the event's location, or of one installed app, what
// becomes of the event and why.
func (s *Shard) Explain(p scope.Principal, e *event.Event, only id.InstalledApp) ([]Explanation, error) {
	if !only.IsZero() {
		if _, err := s.FindInstalled(p, only, "r"); err != nil {
			return nil, err
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Explanation
	l := s.locations[e.Location]
	if l == nil {
		return nil, nil
	}
	for _, in := range l.installed {
		if !only.IsZero() && *in.id != only {
			continue
		}
		if _, err := s.own(p, *in.id, "r"); err != nil {
			continue // it is none of the principal's business
		}
		for _, sub := range in.subscriptions {
			list = append(list, s.explain(in, sub, e))
		}
	}
	slices.SortStableFunc(list, func(a, b Explanation) int { // the subscriptions of an app are in their order
		return cmp.Or(cmp.Compare(a.App, b.App), slices.Compare(a.InstalledApp[:], b.InstalledApp[:]))
	})
	return list, nil
}

// explain is for one subscription. The caller holds mu.
func (s *Shard) explain(in *installed, sub *subscription.Subscription, e *event.Event) Explanation {
	x := Explanation{InstalledApp: in.app.ID, App: in.app.DisplayName, Subscription: sub, Verdict: NotMatched, Why: sub.Explain(e)}
	if x.Why != "" {
		return x
	}
	x.Sends = e.Webhook(sub.DeliveryName())
	if err := delivery.Withheld(in.app, e); err != nil {
		x.Verdict, x.Why, x.Sends = NotAllowed, err.Error(), nil
		return x
	}
	if r := s.delivery.FindRefused(in.app.ID, e.ID, sub.ID); r != nil {
		if x.Verdict, x.Why = DeadLetter, fmt.Sprintf("it matches, but the app refused it %d times; it is not tried any more. The last answer: %s", r.Attempts, r.Failure); !r.Dead {
			x.Verdict, x.Why = Waiting, fmt.Sprintf("it matches, but the app refused it %d times; it is tried again at %s. The last answer: %s", r.Attempts, r.Next.UTC().Format(time.RFC3339), r.Failure)
		}
		return x
	}
	st := s.delivery.Status(in.app)
	past := e.Seq <= s.journal.Committed()
	if past && (st.State == delivery.Current || st.Position >= e.Seq) {
		x.Verdict, x.Why = Delivered, "it matches, and the app's position is past it"
		return x
	}
	x.Verdict, x.Why = WouldSend, "it matches, and nothing stands in the way"
	if past {
		x.Verdict, x.Why = Waiting, "it matches, and is on its way"
	}
	if app, ok := s.directory.App(in.app.App); ok {
		if err := delivery.Held(app, in.app); err != nil {
			x.Verdict, x.Why = Waiting, err.Error()
			return x
		}
	}
	if st.State == delivery.Waiting {
		x.Verdict = Waiting
		x.Why = fmt.Sprintf("it matches, but the app is behind since %s: %s", st.BehindSince.UTC().Format(time.RFC3339), st.LastFailure)
		if !st.NextAttempt.IsZero() {
			x.Why += ". The next attempt is at " + st.NextAttempt.UTC().Format(time.RFC3339)
		}
	}
	return x
}

// maxPreview is how many events a preview shows.
const maxPreview = 1000

// Preview returns the events since a time that a subscription would have sent if it had been
// there, oldest first, up to a thousand; more says that there are others. The subscription is
// checked as in a create, but for what exists already.
func (s *Shard) Preview(ctx context.Context, p scope.Principal, app id.InstalledApp, draft *subscription.Subscription, since time.Time) (events []*event.Event, more bool, err error) {
	sub := *draft
	s.mu.RLock()
	in, err := s.own(p, app, "r")
	if err == nil {
		err = s.checkNew(p, in, &sub)
	}
	s.mu.RUnlock()
	if err != nil {
		return nil, false, err
	}
	last := s.journal.Committed()
	err = s.Past(ctx, last-min(last, explainNewest), last, func(uint64) {}, func(e *event.Event) error {
		if e.Time.Before(since) || sub.Matches(e) != subscription.Matches {
			return nil
		}
		if len(events) == maxPreview {
			more = true
			return nil
		}
		events = append(events, e)
		return nil
	})
	return events, more, err
}
