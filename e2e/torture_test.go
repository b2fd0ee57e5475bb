package e2e

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hark/internal/torture"
)

var tortureFor = flag.Duration("torture", time.Minute, "how long TestTorture disturbs a hark; hours are fine, with -timeout 0")

// TestTorture does to a hark what machines and people do to programs, by all means there are here,
// and closes the ledger. It is printed, with what was done, under -v and on a failure.
func TestTorture(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	report, err := torture.Run(t.Context(), torture.Config{Binary: path, Dir: t.TempDir(), For: *tortureFor, Disk: true, Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	show(t, report)
	for _, e := range report.Ledger {
		if e.Acknowledged < 1000 || e.Arrived < e.Acknowledged {
			t.Errorf("%s: %d events acknowledged, %d arrived: too few to say anything", e.Receiver, e.Acknowledged, e.Arrived)
		}
	}
	for _, what := range []string{"SIGKILL", "SIGSTOP", "SIGTERM", "SIGKILL at the end", "clock jump", "full disk", "read-only disk"} {
		could := !slices.ContainsFunc(report.Not, func(not string) bool { return strings.Contains(not, what) })
		if report.Disturbances[what] == 0 && (could || os.Getenv("CI") == "true") {
			t.Errorf("there was no %s", what)
		}
	}
}

// show prints the ledger, also to the file that HARK_LEDGER names, and fails the test for the
// problems in it.
func show(t *testing.T, report *torture.Report) {
	t.Helper()
	var ledger strings.Builder
	report.Print(&ledger)
	t.Logf("\n%s", &ledger)
	if path := os.Getenv("HARK_LEDGER"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "%s\n%s\n", t.Name(), &ledger); err != nil {
			t.Error(err)
		}
	}
	if n := len(report.Problems()); n > 0 {
		t.Errorf("the ledger shows %d problems", n)
	}
}
