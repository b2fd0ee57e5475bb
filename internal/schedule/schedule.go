// Package schedule is the model of an installed app's schedules (reference 7.9): when one is
// due. It keeps no time itself.
package schedule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/reugn/go-quartz/quartz"

	"hark/internal/id"
	"hark/internal/problem"
)

// The kinds of schedule, as timer events name them.
const (
	Cron = "CRON"
	Once = "ONCE"
)

// Schedule is a wish for timer events. A value is never changed; it is replaced by another.
type Schedule struct {
	InstalledApp id.InstalledApp `json:"app"`
	Location     id.Location     `json:"location"`
	Name         string          `json:"name"`
	Expression   string          `json:"expression,omitempty"` // of CRON
	Timezone     string          `json:"timezone,omitempty"`   // of CRON
	Overwrite    bool            `json:"overwrite,omitempty"`  // of ONCE: it replaced others of its name
	// Due is when it is due next; of ONCE each time still to come, in order.
	Due []time.Time `json:"due"`
}

// Limits of a schedule (reference 7.9).
const (
	maxExpression = 256
	maxAhead      = 2 * 366 * 24 * time.Hour
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._\-]{1,36}$`)

// ParseRequest reads the body of a create. Zone is used where the request names none.
func ParseRequest(body []byte, zone string, now time.Time) (*Schedule, error) {
	var r struct {
		Name string `json:"name"`
		Cron *struct {
			Expression string `json:"expression"`
			Timezone   string `json:"timezone"`
		} `json:"cron"`
		Once *struct {
			Time      int64 `json:"time"` // milliseconds
			Overwrite *bool `json:"overwrite"`
		} `json:"once"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, problem.New(problem.Invalid, "The schedule cannot be read: %v.", err)
	}
	if !namePattern.MatchString(r.Name) {
		return nil, problem.Field("name", "PatternError", "%.60q does not match %s", r.Name, namePattern)
	}
	s := &Schedule{Name: r.Name}
	switch {
	case (r.Cron == nil) == (r.Once == nil):
		return nil, problem.Field("cron", "NotNullError", "a schedule has either cron {expression, timezone} or once {time}")
	case r.Once != nil:
		at := time.UnixMilli(r.Once.Time).UTC()
		if at.Sub(now) > maxAhead {
			return nil, problem.Field("once.time", "ConstraintViolationError", "%s is more than two years ahead; it is in milliseconds since 1970", at.Format(time.RFC3339))
		}
		if now.Sub(at) > time.Hour {
			return nil, problem.Field("once.time", "ConstraintViolationError", "%s is in the past; it is in milliseconds since 1970", at.Format(time.RFC3339))
		}
		s.Due, s.Overwrite = []time.Time{at}, r.Once.Overwrite == nil || *r.Once.Overwrite
		return s, nil
	}
	s.Expression, s.Timezone = r.Cron.Expression, cmp.Or(r.Cron.Timezone, zone, "UTC")
	if len(s.Expression) > maxExpression {
		return nil, problem.Field("cron.expression", "SizeError", "has %d characters, the maximum is %d", len(s.Expression), maxExpression)
	}
	if _, err := time.LoadLocation(s.Timezone); err != nil {
		return nil, problem.Field("cron.timezone", "PatternError", "%.60q is not a time zone such as Europe/Berlin", s.Timezone)
	}
	next, err := s.next(now)
	if err != nil {
		return nil, problem.Field("cron.expression", "PatternError", "%.256q is not minute, hour, day of month, month, day of week (1 is Sunday) and year, such as \"15 10 * * ? *\": %v", s.Expression, err)
	}
	s.Due = []time.Time{next}
	return s, nil
}

// Kind returns CRON or ONCE.
func (s *Schedule) Kind() string {
	if s.Expression != "" {
		return Cron
	}
	return Once
}

// With returns s with the times of another ONCE of the same name added.
func (s *Schedule) With(other *Schedule) *Schedule {
	both := *s
	both.Due = slices.Concat(s.Due, other.Due)
	slices.SortFunc(both.Due, time.Time.Compare)
	return &both
}

// next returns the first time after another at which the expression is due.
func (s *Schedule) next(after time.Time) (time.Time, error) {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return time.Time{}, fmt.Errorf("time zone: %w", err)
	}
	trigger, err := quartz.NewCronTriggerWithLoc("0 "+s.Expression, zone) // the platform leaves the seconds out
	if err != nil {
		return time.Time{}, err
	}
	next, err := trigger.NextFireTime(after.UnixNano())
	if err != nil {
		return time.Time{}, fmt.Errorf("it is never due again")
	}
	return time.Unix(0, next).UTC(), nil
}

// maxMissed is how many occurrences of a CRON schedule come late after the server was down
// for long; older ones are left out.
const maxMissed = 60

// Fire returns the times up to now at which the schedule was due, and the schedule after
// them, nil when it is never due again. Left is how many older ones are left out.
func (s *Schedule) Fire(now time.Time) (due []time.Time, after *Schedule, left int) {
	rest := *s
	for len(rest.Due) > 0 && !rest.Due[0].After(now) {
		at := rest.Due[0]
		due = append(due, at)
		rest.Due = rest.Due[1:]
		if s.Kind() == Cron {
			next, err := s.next(at)
			if err != nil {
				break
			}
			rest.Due = []time.Time{next}
		}
		if len(due) > maxMissed && s.Kind() == Cron {
			due, left = due[1:], left+1
		}
	}
	if len(rest.Due) == 0 {
		return due, nil, left
	}
	return due, &rest, left
}
