package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ledger is what a receiver got: for each device, its values in order of arrival.
type ledger struct {
	*httptest.Server
	down atomic.Bool // answers 503

	mu       sync.Mutex
	arrivals map[string][]arrival
	count    int
}

type arrival struct {
	value int
	at    time.Time
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{arrivals: map[string][]arrival{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var call struct {
			MessageType string
			EventData   struct {
				Events []struct {
					DeviceEvent struct {
						DeviceID string
						Value    int
					}
				}
			}
		}
		if err != nil || json.Unmarshal(b, &call) != nil || l.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range call.EventData.Events {
			l.arrivals[e.DeviceEvent.DeviceID] = append(l.arrivals[e.DeviceEvent.DeviceID], arrival{e.DeviceEvent.Value, time.Now()})
			l.count++
		}
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(l.Close)
	return l
}

// feeder reports the values 1, 2, 3, ... of one device, and keeps those that were acknowledged.
type feeder struct {
	device string
	next   int
	acked  []int
}

// feed reports 1 to 20 values in one request. Values that were not acknowledged may be
// journalled or not; they are never sent again.
func (f *feeder) feed(h *hark) bool {
	var body bytes.Buffer
	var values []int
	for range 1 + rand.N(20) {
		f.next++
		values = append(values, f.next)
		fmt.Fprintf(&body, `{"deviceId":%q,"capability":"powerMeter","attribute":"power","value":%d,"unit":"W"}`+"\n", f.device, f.next)
	}
	status, content, err := request("POST", h.BaseURL+"/hark/v1/events", h.Token, body.Bytes())
	if err != nil {
		return false
	}
	var answer struct{ Accepted, Rejected int }
	if status != http.StatusOK || json.Unmarshal(content, &answer) != nil || answer.Rejected > 0 {
		return false
	}
	f.acked = append(f.acked, values...)
	return true
}

// TestNothingIsLostOverSIGKILL kills the real binary at random moments while events are fed
// and acknowledged, restarts it, and holds what arrived at two receivers against what was
// acknowledged. One receiver is down all the while and comes up at the end.
func TestNothingIsLostOverSIGKILL(t *testing.T) {
	const kills, feeders, enough = 12, 6, 3000
	dir := t.TempDir()
	h := start(t, "--listen", "127.0.0.1:0", "--data", dir)
	up, late := newLedger(t), newLedger(t)
	late.down.Store(true)
	for i, l := range []*ledger{up, late} {
		h.installListener(fmt.Sprintf("ledger-%d", i), l.URL)
	}
	var feeds []*feeder
	for i := range feeders {
		var made struct{ DeviceID string }
		h.call("POST", "/virtualdevices/prototypes", map[string]any{
			"name": fmt.Sprintf("meter %d", i), "prototype": "VIRTUAL_METERED_SWITCH", "owner": map[string]any{"ownerType": "LOCATION", "ownerId": h.LocationID},
		}, &made)
		feeds = append(feeds, &feeder{device: made.DeviceID})
	}

	var running sync.Map // "hark": the one that feeders talk to
	running.Store("hark", h)
	var acked atomic.Int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for _, f := range feeds {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				now, _ := running.Load("hark")
				before := len(f.acked)
				if f.feed(now.(*hark)) {
					acked.Add(int64(len(f.acked) - before))
				} else {
					time.Sleep(5 * time.Millisecond) // it is being restarted
				}
			}
		})
	}
	var killed []time.Time
	for len(killed) < kills || acked.Load() < enough {
		time.Sleep(time.Duration(50+rand.N(600)) * time.Millisecond)
		killed = append(killed, time.Now())
		h.stop(syscall.SIGKILL)
		h = start(t, "--listen", "127.0.0.1:0", "--data", dir)
		running.Store("hark", h)
	}
	close(stop)
	wait.Wait()
	late.down.Store(false)

	for name, l := range map[string]*ledger{"the receiver that was up": up, "the receiver that was down": late} {
		deadline := time.Now().Add(90 * time.Second)
		for l.missing(feeds) > 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		duplicates := l.check(t, name, feeds, killed)
		t.Logf("%s: %d acknowledged, %d missing, %d arrived, %d of them again, %d kills", name, acked.Load(), l.missing(feeds), l.count, duplicates, len(killed))
	}
	if os.Getenv("CI") == "true" {
		fmt.Printf("crash test: %d events acknowledged over %d kills with SIGKILL, none missing unless an error stands above\n", acked.Load(), len(killed))
	}
}

// installListener registers and installs an API-access app that wants all power reports.
func (h *hark) installListener(name, target string) {
	h.t.Helper()
	var created struct{ App struct{ AppID string } }
	h.call("POST", "/apps", map[string]any{"appName": name, "displayName": name, "appType": "API_ONLY", "apiOnly": map[string]any{"targetUrl": target}}, &created)
	var installed struct {
		InstalledApp struct{ InstalledAppID string }
	}
	h.call("POST", "/installedapps", map[string]any{"appId": created.App.AppID, "locationId": h.LocationID, "permissions": []string{"r:devices:*"}}, &installed)
	h.call("POST", "/installedapps/"+installed.InstalledApp.InstalledAppID+"/subscriptions", map[string]any{
		"sourceType": "CAPABILITY", "capability": map[string]any{"locationId": h.LocationID, "capability": "powerMeter", "attribute": "power", "value": "*", "subscriptionName": "power"},
	}, nil)
}

// missing counts the acknowledged values that did not arrive.
func (l *ledger) missing(feeds []*feeder) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, f := range feeds {
		got := map[int]bool{}
		for _, a := range l.arrivals[f.device] {
			got[a.value] = true
		}
		for _, v := range f.acked {
			if !got[v] {
				n++
			}
		}
	}
	return n
}

// check fails the test on a missing value, on values of a device out of order, and on a
// value that came twice without a kill between. It returns how many came again.
func (l *ledger) check(t *testing.T, name string, feeds []*feeder, killed []time.Time) (duplicates int) {
	t.Helper()
	if n := l.missing(feeds); n > 0 {
		t.Errorf("%s: %d acknowledged events are missing", name, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range feeds {
		first := map[int]time.Time{}
		newest := 0
		for _, a := range l.arrivals[f.device] {
			if at, again := first[a.value]; again {
				duplicates++
				if !between(killed, at, a.at) {
					t.Errorf("%s: the value %d of %s came twice with no kill between", name, a.value, f.device)
				}
				continue
			}
			first[a.value] = a.at
			if a.value < newest {
				t.Errorf("%s: the value %d of %s came after %d", name, a.value, f.device, newest)
			}
			newest = a.value
		}
	}
	return duplicates
}

// inFlight is how long after a kill a request may arrive that was sent before it.
const inFlight = 250 * time.Millisecond

func between(times []time.Time, from, to time.Time) bool {
	for _, at := range times {
		if !at.Before(from.Add(-inFlight)) && !at.After(to) {
			return true
		}
	}
	return false
}
