package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hark/internal/process"
)

// idle measures a hark dev on which nothing happens.
func (l *lab) idle(ctx context.Context) error {
	var h *process.Hark
	took := time.Hour
	for i := range 3 { // the best of three: the first has to read the program from disk
		started := time.Now()
		next, err := l.hark(ctx, fmt.Sprintf("idle-%d", i))
		if err != nil {
			return err
		}
		took = min(took, time.Since(started))
		if h != nil {
			end(h)
		}
		h = next
	}
	defer end(h)
	l.atMost(300, Figure{Name: "start of hark dev on a new directory", Value: float64(took.Microseconds()) / 1000, Unit: "ms"})
	time.Sleep(3 * time.Second)
	mb, err := resident(h.PID)
	if err == nil {
		l.atMost(80, Figure{Name: "resident memory of hark dev at rest", Value: mb, Unit: "MB"})
	}
	return err
}

// The shape of what a start reads.
const (
	perApp      = 10  // subscriptions of an installed app
	perLocation = 100 // installed apps of a location
)

// start measures how long a hark takes to start with many subscriptions, and its memory then.
// All is made by the API, as it would be.
func (l *lab) start(ctx context.Context) error {
	installs := max(l.Subscriptions/perApp, 1)
	h, err := l.hark(ctx, "start")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := fill(ctx, h, installs); err != nil {
		end(h)
		return err
	}
	filled := time.Since(began)
	requests := float64(installs * (1 + perApp))
	l.note(Figure{Name: "installs and subscriptions, 64 clients", Value: requests / filled.Seconds(), Unit: "requests/s"})
	what := fmt.Sprintf("%s subscriptions of %s installed apps", number(float64(installs*perApp)), number(float64(installs)))
	goal := func(v float64, f Figure) {
		if installs*perApp < 1_000_000 {
			l.note(f) // the goals are for a million
		} else {
			l.atMost(v, f)
		}
	}
	for _, how := range []struct {
		name   string
		signal syscall.Signal
	}{{"a clean stop", syscall.SIGTERM}, {"a kill", syscall.SIGKILL}} {
		h.End(how.signal)
		started := time.Now()
		if h, err = l.hark(ctx, "start"); err != nil {
			return err
		}
		took := time.Since(started)
		goal(8, Figure{Name: "start after " + how.name + ", " + what, Value: took.Seconds(), Unit: "s"})
		mb, err := resident(h.PID)
		if err != nil {
			end(h)
			return err
		}
		goal(1500, Figure{Name: "resident memory then", Value: mb, Unit: "MB"})
	}
	time.Sleep(20 * time.Second)
	mb, err := resident(h.PID)
	if err == nil {
		goal(1500, Figure{Name: "resident memory 20 s later", Value: mb, Unit: "MB"})
	}
	end(h)
	return err
}

// fill makes so many installed apps, each with its subscriptions, in locations of their own.
func fill(ctx context.Context, h *process.Hark, installs int) error {
	var app struct{ App struct{ AppID string } }
	if err := h.Call("POST", "/apps", map[string]any{"appName": "bench-start", "displayName": "bench", "appType": "API_ONLY",
		"apiOnly": map[string]any{"targetUrl": "http://127.0.0.1:1/"}}, &app); err != nil {
		return err
	}
	if err := h.Call("POST", "/hark/v1/apps/bench-start/confirm", nil, nil); err != nil {
		return err
	}
	locations := (installs + perLocation - 1) / perLocation
	work := make(chan int)
	failed := make(chan error, 64)
	for range cap(failed) {
		go func() {
			var err error
			for n := range work {
				if err == nil {
					err = fillLocation(h, app.App.AppID, n)
				}
			}
			failed <- err
		}()
	}
	for i := range locations {
		if ctx.Err() == nil {
			work <- min(perLocation, installs-i*perLocation)
		}
	}
	close(work)
	var first error
	for range cap(failed) {
		if err := <-failed; first == nil {
			first = err
		}
	}
	if first == nil {
		first = ctx.Err()
	}
	return first
}

func fillLocation(h *process.Hark, app string, installs int) error {
	var location struct{ LocationID string }
	if err := h.Call("POST", "/locations", map[string]any{"name": "bench", "countryCode": "GBR"}, &location); err != nil {
		return err
	}
	at := *h
	at.LocationID = location.LocationID
	var devices []string
	for i := range perApp {
		device, err := at.Meter(fmt.Sprintf("meter %d", i))
		if err != nil {
			return err
		}
		devices = append(devices, device)
	}
	for range installs {
		var made struct {
			InstalledApp struct{ InstalledAppID string }
		}
		if err := h.Call("POST", "/installedapps", map[string]any{"appId": app, "locationId": location.LocationID, "permissions": []string{"r:devices:*"}}, &made); err != nil {
			return err
		}
		for i, device := range devices {
			if err := h.Call("POST", "/installedapps/"+made.InstalledApp.InstalledAppID+"/subscriptions", map[string]any{
				"sourceType": "DEVICE", "device": map[string]any{"deviceId": device, "capability": "powerMeter", "attribute": "power", "subscriptionName": fmt.Sprintf("power-%d", i)},
			}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// resident returns the resident memory of a process in MB.
func resident(pid int) (float64, error) {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		for line := range strings.Lines(string(b)) {
			if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				return megabytes(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
			}
		}
	}
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output() // systems without /proc
	if err != nil {
		return 0, fmt.Errorf("resident memory of process %d: %w", pid, err)
	}
	return megabytes(strings.TrimSpace(string(out)))
}

func megabytes(kb string) (float64, error) {
	v, err := strconv.ParseFloat(kb, 64)
	return v / 1024, err
}
