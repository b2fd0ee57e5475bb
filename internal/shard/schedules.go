package shard

import (
	"context"
	"slices"
	"strings"
	"time"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/schedule"
	"hark/internal/scope"
)

func scheduleKey(sc *schedule.Schedule) string { return sc.InstalledApp.String() + "." + sc.Name }

// Schedule adds a schedule to the installed app (reference 7.9). A ONCE with overwrite takes
// the place of one of its name; without, both are due.
func (s *Shard) Schedule(ctx context.Context, p scope.Principal, app id.InstalledApp, body []byte) (added *schedule.Schedule, err error) {
	err = s.commit(ctx, func() ([]records.Write, error) {
		in, err := s.own(p, app, "w")
		if err != nil {
			return nil, err
		}
		sc, err := schedule.ParseRequest(body, s.locations[in.app.Location].home.TimeZoneID, s.now())
		if err != nil {
			return nil, err
		}
		sc.InstalledApp, sc.Location = app, in.app.Location
		if old := in.schedules[sc.Name]; old != nil {
			if old.Kind() == schedule.Cron || sc.Kind() == schedule.Cron {
				return nil, problem.New(problem.Conflict, "The installed app has a %s schedule named %q already; DELETE /installedapps/%s/schedules/%s first.", old.Kind(), old.Name, app, old.Name).At("name")
			}
			if !sc.Overwrite {
				sc = old.With(sc)
			}
		} else if err := limits.Room(s.limits.Schedules, len(in.schedules), "schedules in an installed app"); err != nil {
			return nil, err
		}
		added, in.schedules[sc.Name] = sc, sc
		s.arm(in, sc)
		return []records.Write{{Kind: kindSchedule, ID: scheduleKey(sc), Value: sc}}, nil
	})
	return added, err
}

// arm sets the alarm of a schedule that is the installed app's. The caller holds mu.
func (s *Shard) arm(in *installed, sc *schedule.Schedule) {
	s.alarm(sc.Due[0], func(now time.Time) ([]records.Write, []*event.Event) {
		if s.installed[*in.id] != in || in.schedules[sc.Name] != sc {
			return nil, nil // it was deleted or replaced
		}
		due, after, left := sc.Fire(now)
		if left > 0 {
			s.log.Warn("a schedule was due while hark was stopped, more often than is made up for", "installedApp", *in.id, "schedule", sc.Name, "leftOut", left)
		}
		write := records.Write{Kind: kindSchedule, ID: scheduleKey(sc)}
		if after == nil {
			delete(in.schedules, sc.Name)
		} else {
			in.schedules[sc.Name], write.Value = after, after
			s.arm(in, after)
		}
		var events []*event.Event
		for _, at := range due {
			e := event.New(event.TimerEvent, in.app.Location, s.locations[in.app.Location].Mode)
			e.InstalledApp = *in.id
			e.Timer = &event.Timer{Name: sc.Name, Kind: sc.Kind(), Expression: sc.Expression, Due: at}
			events = append(events, e)
		}
		return []records.Write{write}, events
	})
}

// Schedules returns the installed app's schedules, by name.
func (s *Shard) Schedules(p scope.Principal, app id.InstalledApp) ([]*schedule.Schedule, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in, err := s.own(p, app, "r")
	if err != nil {
		return nil, err
	}
	var list []*schedule.Schedule
	for _, sc := range in.schedules {
		list = append(list, sc)
	}
	slices.SortFunc(list, func(a, b *schedule.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// FindSchedule returns the installed app's schedule with the name.
func (s *Shard) FindSchedule(p scope.Principal, app id.InstalledApp, name string) (*schedule.Schedule, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in, err := s.own(p, app, "r")
	if err != nil {
		return nil, err
	}
	if sc := in.schedules[name]; sc != nil {
		return sc, nil
	}
	return nil, problem.New(problem.NotFound, "The installed app has no schedule named %.60q; a schedule that was due for the last time is gone.", name).At("name")
}

// Unschedule deletes the installed app's schedule with the name, or all for "", and returns
// how many.
func (s *Shard) Unschedule(ctx context.Context, p scope.Principal, app id.InstalledApp, name string) (count int, err error) {
	err = s.commit(ctx, func() (writes []records.Write, err error) {
		in, err := s.own(p, app, "w")
		if err != nil {
			return nil, err
		}
		for _, sc := range in.schedules {
			if name == "" || sc.Name == name {
				delete(in.schedules, sc.Name)
				writes = append(writes, records.Write{Kind: kindSchedule, ID: scheduleKey(sc)})
			}
		}
		count = len(writes)
		return writes, nil
	})
	return count, err
}
