package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hark/internal/process"
	"hark/internal/torture"
)

// TestAFullDiskIsOutlived fills a disk to the last byte while reports come in: one in a request, so
// that the engine fails to write and gives up for good, and many, which it may refuse instead before
// they are written. Hark says what is the matter. Once there is room again it is back by itself,
// in the same process and at the same address, with all that was acknowledged.
func TestAFullDiskIsOutlived(t *testing.T) {
	t.Parallel()
	t.Run("one report at a time", func(t *testing.T) { t.Parallel(); outliveAFullDisk(t, 1) })
	t.Run("many at a time", func(t *testing.T) { t.Parallel(); outliveAFullDisk(t, 100) })
}

// outliveAFullDisk has each request report up to so many values.
func outliveAFullDisk(t *testing.T, most int) {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("hark-e2e", dir, "tmpfs", 0, "size=64m"); err != nil {
		missing(t, "a small disk cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) }) // after hark has ended
	h := start(t, "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--min-free", "0")
	receiver, err := torture.NewReceiver("ledger", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.Close)
	installed, err := h.Install("ledger", receiver.URL, map[string]any{"maxEvents": 50})
	if err != nil {
		t.Fatal(err)
	}
	receiver.Expect(installed)
	var feeders []*torture.Feeder
	for _, name := range []string{"a", "b", "c"} {
		device, err := h.Meter(name)
		if err != nil {
			t.Fatal(err)
		}
		feeders = append(feeders, &torture.Feeder{Device: device, Most: most})
	}
	feed := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var feeding sync.WaitGroup
		for _, f := range feeders {
			feeding.Go(func() { f.Feed(ctx, 10*time.Millisecond, func() *process.Hark { return h.Hark }) })
		}
		return func() { cancel(); feeding.Wait() }
	}
	acknowledged := func() (n int) {
		for _, f := range feeders {
			n += len(f.Acknowledged())
		}
		return n
	}
	full := torture.Disturbance{What: "the disk is full", From: time.Now()}
	stop := feed()
	wait(t, "something is acknowledged", 20*time.Second, func() bool { return acknowledged() > 100 })
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	f.Close()
	wait(t, "hark says that the disk is full", 30*time.Second, func() bool {
		status, body, err := h.Try("GET", "/readyz", nil)
		gaveUp := strings.Contains(string(body), "failed to store") || strings.Contains(string(body), "Critical write error")
		return err == nil && status == http.StatusServiceUnavailable && strings.Contains(string(body), "no space left") && (gaveUp || most > 1)
	})
	select { // it does not try to start anew where it could not
	case <-h.Ended():
		t.Fatal("the process ended because the disk is full")
	case <-time.After(3 * time.Second):
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	wait(t, "hark is ready again", time.Minute, h.Ready)
	stop()
	before := acknowledged()
	stop = feed()
	wait(t, "it takes reports again", 20*time.Second, func() bool { return acknowledged() > before+100 })
	stop()
	wait(t, "all has arrived", time.Minute, func() bool { return receiver.Missing(feeders) == 0 })
	full.To = time.Now()
	report := torture.Report{Acknowledged: acknowledged(), Disturbances: map[string]int{full.What: 1}, Ledger: []torture.Entry{receiver.Check(feeders, []torture.Disturbance{full})}}
	show(t, &report)
	select {
	case <-h.Ended():
		t.Error("the process ended")
	default:
	}
}
