// Package limits is the platform's published guardrails and rates (reference 8), for those who
// want to rehearse them. hark has none of them by default.
package limits

import (
	"strings"
	"sync"
	"time"

	"hark/internal/problem"
)

// Limits are guardrails: how many there may be. Zero is no limit.
type Limits struct {
	Apps                 int // in all
	AppsOfAType          int
	InstalledPerApp      int
	InstalledPerLocation int
	Locations            int
	Subscriptions        int           // of an installed app
	Schedules            int           // of an installed app
	Devices              int           // that an installed app makes
	Streams              int           // of one installed app or person, open or not yet opened
	Executions           int           // events, to an installed app, within ExecutionsPer; more are delayed
	ExecutionsPer        time.Duration // 0 without a limit
}

// Platform is what the platform publishes.
var Platform = Limits{
	Apps: 100, AppsOfAType: 35, InstalledPerApp: 500, InstalledPerLocation: 100, Locations: 10, Subscriptions: 40, Schedules: 6, Devices: 30, Streams: 2,
	Executions: 20, ExecutionsPer: time.Minute,
}

// remedy ends every refusal.
const remedy = "hark rehearses the platform's limits because it was started with --platform-limits; without that it has none of them"

// Room returns nil while there may be one more, else a refusal that names the limit. What is
// such as "subscriptions in an installed app".
func Room(limit, have int, what string) error {
	if limit == 0 || have < limit {
		return nil
	}
	return problem.New(problem.Limit, "The limit of %d %s is reached; %s.", limit, what, remedy)
}

// Rate is how often something may be called. The zero Rate is no limit.
type Rate struct {
	What      string // such as "creating subscriptions"
	Calls     int
	Per       time.Duration
	PerDevice bool // and not for all devices together
}

// TooOften returns the refusal of a call too many; the next window begins after wait.
func (r Rate) TooOften(wait time.Duration) error {
	return problem.New(problem.TooMany, "The rate of %d calls in %v for %s is exceeded; try again in %v. %s.", r.Calls, r.Per, r.What, wait.Round(time.Millisecond), "H"+remedy[1:])
}

// Delayed says in words why an event waits.
func (l Limits) Delayed() string {
	return "the rate of executions is exceeded, so events are delayed; " + remedy
}

// rates are the published ones: of the patterns that begin a request's, the first counts.
var rates = []struct {
	pattern string // a method, or "*" for all, and the beginning of a path
	rate    Rate
}{
	{"POST /installedapps/{installedApp}/subscriptions", Rate{"creating subscriptions", 40, 15 * time.Minute, false}},
	{"* /installedapps/{installedApp}/subscriptions", Rate{"reading and deleting subscriptions", 15, 15 * time.Minute, false}},
	{"POST /installedapps/{installedApp}/schedules", Rate{"creating schedules", 12, time.Minute, false}},
	{"* /installedapps/{installedApp}/schedules", Rate{"reading and deleting schedules", 20, 6 * time.Minute, false}},
	{"* /installedapps", Rate{"installed apps", 60, time.Minute, false}},
	{"* /apps", Rate{"apps", 60, time.Minute, false}},
	{"* /smartapps", Rate{"apps", 60, time.Minute, false}},
	{"GET /devices/{device}/status", Rate{"the status of a device", 12, time.Minute, true}},
	{"GET /devices/{device}/components", Rate{"the status of a device", 12, time.Minute, true}},
	{"POST /devices/{device}/commands", Rate{"commands to a device", 12, time.Minute, true}},
	{"POST /devices/{device}/events", Rate{"events of a device", 12, time.Minute, true}},
	{"POST /virtualdevices/{device}/events", Rate{"events of a device", 12, time.Minute, true}},
	{"* /locations/{location}/modes", Rate{"modes", 100, time.Minute, false}},
	{"* /locations/{location}/rooms", Rate{"rooms", 50, time.Hour, false}},
	{"GET /locations", Rate{"reading locations", 100, time.Minute, false}},
	{"PUT /locations", Rate{"changing locations", 20, time.Hour, false}},
	{"* /locations", Rate{"creating and deleting locations", 50, time.Hour, false}},
	{"GET /capabilities", Rate{"reading capabilities", 15, time.Minute, false}},
	{"* /deviceprofiles", Rate{"device profiles", 120, time.Minute, false}},
}

// RateOf returns the rate of a pattern such as "GET /devices/{device}/status", without /v1, and
// whether it has one.
func RateOf(pattern string) (Rate, bool) {
	for _, r := range rates {
		if begins(pattern, r.pattern) {
			return r.rate, true
		}
	}
	return Rate{}, false
}

func begins(pattern, with string) bool {
	method, path, _ := strings.Cut(pattern, " ")
	m, p, _ := strings.Cut(with, " ")
	rest, ok := strings.CutPrefix(path, p)
	return ok && (m == "*" || m == method) && (rest == "" || rest[0] == '/')
}

// Windows counts calls in windows of time, by rate and caller. The zero Windows is ready. It is
// safe for concurrent use.
type Windows struct {
	mu  sync.Mutex
	all map[string]window
}

type window struct {
	ends time.Time
	used int
}

// manyWindows is how many there may be before old ones are looked for.
const manyWindows = 10_000

// Count counts a call of a caller, and returns how many are left in its window, negative when
// it is one too many, and how long the window still lasts.
func (w *Windows) Count(r Rate, caller string, now time.Time) (left int, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]window{}
	}
	if len(w.all) > manyWindows {
		for key, old := range w.all {
			if !now.Before(old.ends) {
				delete(w.all, key)
			}
		}
	}
	key := r.What + " " + caller
	current := w.all[key]
	if !now.Before(current.ends) {
		current = window{ends: now.Add(r.Per)}
	}
	if current.used <= r.Calls {
		current.used++
	}
	w.all[key] = current
	return r.Calls - current.used, current.ends.Sub(now)
}
