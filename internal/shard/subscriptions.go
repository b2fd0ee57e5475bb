package shard

import (
	"context"
	"slices"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// Subscribe adds the subscription to the installed app (reference 1). It sees every event
// journalled after this returns, and none that was acknowledged before it was called.
func (s *Shard) Subscribe(ctx context.Context, p scope.Principal, app id.InstalledApp, draft *subscription.Subscription) (*subscription.Subscription, error) {
	sub := *draft
	return &sub, s.commit(ctx, func() ([]records.Write, error) {
		in, err := s.own(p, app, "w")
		if err != nil {
			return nil, err
		}
		if err := s.checkSubscription(p, in, &sub); err != nil {
			return nil, err
		}
		sub.ID, sub.App, sub.From = id.New[id.Subscription](), in.id, s.journal.Last()
		s.index.Add(&sub)
		return in.add(&sub), nil
	})
}

// checkSubscription reports what stands against a new subscription: what checkNew says, and
// others like it. The caller holds mu.
func (s *Shard) checkSubscription(p scope.Principal, in *installed, sub *subscription.Subscription) error {
	if err := s.checkNew(p, in, sub); err != nil {
		return err
	}
	same, alive := sub.Same(), 0
	for _, other := range in.subscriptions {
		if other.Until > 0 {
			continue
		}
		alive++
		switch {
		case sub.Name() != "" && other.Name() == sub.Name():
			return problem.New(problem.Conflict, "The installed app has a subscription named %q already, with the id %s. Names are unique in an installed app: "+
				"choose another, or delete that one first.", sub.Name(), other.ID).At("subscriptionName")
		case other.Same() == same:
			return problem.New(problem.Conflict, "The installed app has a subscription with the same filters already: %s (id %s). Delete that one first if it should be replaced.",
				other.DeliveryName(), other.ID)
		}
	}
	return limits.Room(s.limits.Subscriptions, alive, "subscriptions in an installed app")
}

// checkNew reports what stands against a subscription whatever others there are: the scopes,
// and what it refers to. It fills in the location. The caller holds mu.
func (s *Shard) checkNew(p scope.Principal, in *installed, sub *subscription.Subscription) error {
	l := s.locations[in.app.Location]
	if sub.Location.IsZero() { // the request named none
		sub.Location = in.app.Location
	}
	owner := scope.Principal{Name: "installed app " + in.app.DisplayName, InstalledApp: in.app.ID, Scopes: in.app.Permissions}
	for _, need := range sub.Needs() {
		if err := owner.Require(need...); err != nil { // the app must hold it, whoever asks for it
			return err
		}
		if err := p.Require(need...); err != nil {
			return err
		}
	}
	if sub.Location != in.app.Location {
		return problem.New(problem.Denied, "The app is installed in the location %s (%s), so it cannot subscribe to the location %s.", in.app.Location, l.home.Name, sub.Location).At("locationId")
	}
	for _, device := range append(sub.Devices(), sub.Device) {
		if d := s.devices[device]; !device.IsZero() && (d == nil || d.at != l) {
			return problem.New(problem.NotFound, "There is no device with the id %s in the installed app's location %s (%s).", device, l.home.Name, l.home.ID).At("deviceId")
		}
	}
	if _, ok := s.directory.Capabilities.Capability(sub.Capability); !ok && sub.Capability != subscription.Any {
		return problem.Field("capability", "PatternError", "%.140q is not a capability that hark knows; GET /capabilities lists them", sub.Capability)
	}
	for _, m := range sub.Modes() {
		if _, ok := l.home.Mode(m); !ok {
			return problem.Field("modes", "ConstraintViolationError", "%v", noMode(l.home, m))
		}
	}
	return nil
}

// Subscriptions returns the installed app's subscriptions, in the order in which they were
// made.
func (s *Shard) Subscriptions(p scope.Principal, app id.InstalledApp) ([]*subscription.Subscription, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in, err := s.own(p, app, "r")
	if err != nil {
		return nil, err
	}
	var list []*subscription.Subscription
	for _, sub := range in.subscriptions {
		if sub.Until == 0 {
			list = append(list, sub)
		}
	}
	return list, nil
}

// Subscription returns the installed app's subscription with the id or, failing that, the
// name.
func (s *Shard) Subscription(p scope.Principal, app id.InstalledApp, nameOrID string) (*subscription.Subscription, error) {
	list, err := s.Subscriptions(p, app)
	if err != nil {
		return nil, err
	}
	if want, err := id.Parse[id.Subscription](nameOrID); err == nil {
		for _, sub := range list {
			if sub.ID == want {
				return sub, nil
			}
		}
	}
	for _, sub := range list {
		if sub.Name() == nameOrID {
			return sub, nil
		}
	}
	return nil, problem.New(problem.NotFound, "The installed app has no subscription with the id or name %.60q; it has %d others.", nameOrID, len(list)).At("subscriptionId")
}

// Unsubscribe deletes the installed app's subscriptions that which accepts, and returns how
// many. They see no event journalled after this returns; events from before are delivered.
func (s *Shard) Unsubscribe(ctx context.Context, p scope.Principal, app id.InstalledApp, which func(*subscription.Subscription) bool) (count int, err error) {
	err = s.commit(ctx, func() (writes []records.Write, err error) {
		in, err := s.own(p, app, "w")
		if err != nil {
			return nil, err
		}
		count, writes = s.end(in, which)
		return writes, nil
	})
	return count, err
}

// end ends subscriptions at this place of the journal. They stay in the index until every
// event from before has been delivered. The caller holds mu, and queues the writes.
func (s *Shard) end(in *installed, which func(*subscription.Subscription) bool) (count int, writes []records.Write) {
	until := max(s.journal.Last(), 1)
	var changed []int
	for i, sub := range in.subscriptions {
		if sub.Until > 0 || !which(sub) {
			continue
		}
		ended := sub.EndedAt(until)
		s.replace(in, i, ended)
		s.tombstones[ended] = struct{}{}
		changed = append(changed, i)
	}
	return len(changed), in.changed(changed)
}

// replace puts another value in a subscription's place. The caller holds mu.
func (s *Shard) replace(in *installed, i int, sub *subscription.Subscription) {
	s.index.Remove(in.subscriptions[i])
	in.subscriptions = slices.Clone(in.subscriptions) // others may be reading the old list
	in.subscriptions[i] = sub
	s.index.Add(sub)
}

// LeaveMode takes the mode out of the installed app's subscriptions; one whose only mode it
// was is deleted. It returns how many were touched (reference 1.7).
func (s *Shard) LeaveMode(ctx context.Context, p scope.Principal, app id.InstalledApp, mode id.Mode) (count int, err error) {
	err = s.commit(ctx, func() (writes []records.Write, err error) {
		in, err := s.own(p, app, "w")
		if err != nil {
			return nil, err
		}
		count, writes = s.end(in, func(sub *subscription.Subscription) bool { return slices.Equal(sub.Modes(), []id.Mode{mode}) })
		var changed []int
		for i, sub := range in.subscriptions {
			if sub.Until > 0 || !slices.Contains(sub.Modes(), mode) {
				continue
			}
			s.replace(in, i, sub.WithoutMode(mode))
			changed = append(changed, i)
			count++
		}
		return append(writes, in.changed(changed)...), nil
	})
	return count, err
}

// MatchFor returns the app's subscriptions that the event matched at its place in the
// journal, in the order in which they were made.
func (s *Shard) MatchFor(app id.InstalledApp, e *event.Event) []*subscription.Subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.installed[app]
	if in == nil {
		return nil
	}
	var matched []*subscription.Subscription
	for _, sub := range in.subscriptions {
		if sub.Matches(e) == subscription.Matches {
			matched = append(matched, sub)
		}
	}
	if e.InstalledApp == app {
		matched = s.withOwn(e, matched)
	}
	return matched
}

// MatchNow returns the app's subscriptions of today that the event would have matched,
// whenever they were made.
func (s *Shard) MatchNow(app id.InstalledApp, e *event.Event) []*subscription.Subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.installed[app]
	if in == nil {
		return nil
	}
	var matched []*subscription.Subscription
	for _, sub := range in.subscriptions {
		if always := sub.Always(); sub.Until == 0 && always.Matches(e) == subscription.Matches {
			matched = append(matched, sub)
		}
	}
	if e.InstalledApp == app {
		matched = s.withOwn(e, matched)
	}
	return matched
}
