package schedule

import (
	"fmt"
	"testing"
	"time"

	"hark/internal/problem"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCronIsDue checks the forms of reference 7.9 and of the SDK's helpers.
func TestCronIsDue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expression, zone, from, want string }{
		{"15 10 * * ? *", "UTC", "2026-01-02T10:14:59Z", "2026-01-02T10:15:00Z"},
		{"15 10 * * ? *", "UTC", "2026-01-02T10:15:00Z", "2026-01-03T10:15:00Z"},
		{"05 07 * * ? *", "Europe/Berlin", "2026-01-02T00:00:00Z", "2026-01-02T06:05:00Z"}, // the SDK's runDaily
		{"05 07 * * ? *", "Europe/Berlin", "2026-07-02T00:00:00Z", "2026-07-02T05:05:00Z"},
		{"0/5 14 * * ? *", "UTC", "2026-01-02T14:51:00Z", "2026-01-02T14:55:00Z"},
		{"0 9 ? * MON-FRI *", "UTC", "2026-01-03T00:00:00Z", "2026-01-05T09:00:00Z"}, // a Saturday
		{"0 9 ? * 1 *", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T09:00:00Z"},       // 1 is Sunday
		{"0 0 L * ? *", "UTC", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"0 0 1 1 ? 2030", "UTC", "2026-02-01T00:00:00Z", "2030-01-01T00:00:00Z"},
		{"* * * * ?", "UTC", "2026-02-01T00:00:30Z", "2026-02-01T00:01:00Z"}, // without a year
		// In the hour that an autumn night repeats it is due once, and what a spring night skips comes on the next day.
		{"30 2 * * ? *", "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z"},
		{"30 2 * * ? *", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"},
		{"30 4 * * ? *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:30:00Z"},
	} {
		s, err := ParseRequest(fmt.Appendf(nil, `{"name":"n","cron":{"expression":%q,"timezone":%q}}`, c.expression, c.zone), "", at(t, c.from))
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		if got := s.Due[0].Format(time.RFC3339); got != c.want {
			t.Errorf("%s (%s) after %s is due at %s, want %s", c.expression, c.zone, c.from, got, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-02T00:00:00Z")
	for body, target := range map[string]string{
		`{"name":"a b","once":{"time":1767312000000}}`: "name",
		`{"name":"n"}`:                                               "cron",
		`{"name":"n","cron":{"expression":"x"}}`:                     "cron.expression",
		`{"name":"n","cron":{"expression":"61 * * * ? *"}}`:          "cron.expression",
		`{"name":"n","cron":{"expression":"0 0 1 1 ? 1999"}}`:        "cron.expression",
		`{"name":"n","cron":{"expression":"","timezone":"x"}}`:       "cron.timezone",
		`{"name":"n","once":{"time":1}}`:                             "once.time",
		`{"name":"n","once":{"time":99999999999999}}`:                "once.time",
		`{"name":"n","once":{"time":1},"cron":{"expression":"* *"}}`: "cron",
	} {
		_, err := ParseRequest([]byte(body), "UTC", now)
		p, ok := err.(*problem.Error)
		if !ok || p.Target != target {
			t.Errorf("%s: %v, want a refusal of %s", body, err, target)
		}
	}
}

// TestFire holds that every occurrence fires once, late ones too, and that a long absence does
// not flood an app.
func TestFire(t *testing.T) {
	t.Parallel()
	start := at(t, "2026-01-02T00:00:30Z")
	s, err := ParseRequest([]byte(`{"name":"n","cron":{"expression":"* * * * ? *"}}`), "UTC", start)
	if err != nil {
		t.Fatal(err)
	}
	due, s, _ := s.Fire(start)
	if len(due) != 0 {
		t.Errorf("due before its time: %v", due)
	}
	due, s, _ = s.Fire(start.Add(3 * time.Minute))
	if len(due) != 3 || due[0] != at(t, "2026-01-02T00:01:00Z") || s.Due[0] != at(t, "2026-01-02T00:04:00Z") {
		t.Errorf("after three minutes: %v, then %v", due, s.Due)
	}
	due, s, left := s.Fire(start.Add(24 * time.Hour))
	if len(due) != maxMissed || left != 24*60-3-maxMissed || due[len(due)-1] != at(t, "2026-01-03T00:00:00Z") || s.Due[0] != at(t, "2026-01-03T00:01:00Z") {
		t.Errorf("after a day: %d due, %d left out, the last %v", len(due), left, due[len(due)-1])
	}
	once := &Schedule{Name: "n", Due: []time.Time{start}}
	both := once.With(&Schedule{Due: []time.Time{start.Add(-time.Second)}})
	if due, after, _ := both.Fire(start.Add(-time.Millisecond)); len(due) != 1 || len(after.Due) != 1 {
		t.Errorf("of two times, %v are due and %v are left", due, after)
	}
	if due, after, _ := both.Fire(start); len(due) != 2 || after != nil {
		t.Errorf("of two times, %v are due and %v are left", due, after)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"name":"n","cron":{"expression":"0/5 14,18 ? * 6#3 2027-2030/2","timezone":"America/New_York"}}`))
	f.Add([]byte(`{"name":"n","once":{"time":1767312000000,"overwrite":false}}`))
	now := time.UnixMilli(1767312000000)
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ParseRequest(body, "UTC", now)
		if err != nil {
			return
		}
		if len(s.Due) != 1 || s.Kind() == Cron && !s.Due[0].After(now) {
			t.Errorf("%s is due at %v", body, s.Due)
		}
	})
}
