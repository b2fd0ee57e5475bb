package hark

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/signature"
	"hark/internal/telemetry"
)

// unhealthy expects probes that are red for the reason, but for the one of the process itself.
func (i *instance) unhealthy(reasons ...string) {
	i.t.Helper()
	i.ok("GET", "/livez", nil)
	for _, probe := range []string{"/healthz", "/readyz"} {
		contains(i.t, probe, get(i.refused(http.StatusServiceUnavailable, "GET", probe, nil), "message"), reasons...)
	}
}

// TestADiskThatFillsTakesNoReports wants more free than any disk has: reports are refused with
// the reason, and what must be kept is.
func TestADiskThatFillsTakesNoReports(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.MinFree = 1 << 60 })
	h.unhealthy("the disk is filling", "--min-free", "--retention")
	refusal := h.refused(http.StatusServiceUnavailable, "POST", "/hark/v1/events", object{"deviceId": h.device("Floor lamp"), "capability": "switch", "attribute": "switch", "value": "on"})
	contains(t, "the refusal", get(refusal, "message"), "not acknowledged", "the disk is filling")
	h.install("still", "r:devices:*").subscribe("DEVICE", object{"deviceId": h.device("Floor lamp")})
}

// noKeys cannot sign.
type noKeys struct{ err error }

func (k *noKeys) KeyOf(context.Context, *apps.App, signature.Algorithm) (*signature.Key, error) {
	return nil, k.err
}

func TestSigningThatStopsIsShown(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	h.ok("GET", "/readyz", nil)
	h.ok("GET", "/healthz", nil)
	h.server.caller = appcall.New(&noKeys{errors.New("the key is gone")}, appcall.EgressAny, telemetry.New())
	if _, err := h.server.caller.Call(t.Context(), &apps.App{TargetURL: "http://127.0.0.1:1/"}, appcall.Message{}); err == nil {
		t.Fatal("a call without a key was made")
	}
	h.unhealthy("cannot be signed", "the key is gone")
}

// TestADirectoryThatCannotBeWrittenIsRefused has one in which nothing can be made.
func TestADirectoryThatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	const dir = "/proc/self/fdinfo" // nobody makes files here, root neither
	if _, err := os.Stat(dir); err != nil {
		t.Skip("there is no directory on this system that is surely not writable:", err)
	}
	if _, err := Lock(dir); err == nil || !strings.Contains(err.Error(), "cannot be written") || !strings.Contains(err.Error(), dir) {
		t.Errorf("the refusal is: %v", err)
	}
	fine := t.TempDir()
	unlock, err := Lock(fine)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if left, _ := filepath.Glob(filepath.Join(fine, ".w*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
