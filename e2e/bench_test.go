package e2e

import (
	"encoding/json"
	"os/exec"
	"testing"
)

// TestBench runs hark bench for a moment, with all that it measures but the soak: each figure is
// there. How large they are is no matter of a test, on machines that are shared.
func TestBench(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "bench", "--json", "--for", "600ms", "--subscriptions", "500")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Figures []struct {
			Name  string
			Value float64
			Limit string
			Ratio float64
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("the report is not JSON: %v\n%s", err, out)
	}
	if len(report.Figures) != 23 {
		t.Errorf("%d figures, want 23:\n%s", len(report.Figures), out)
	}
	for _, f := range report.Figures {
		if f.Value <= 0 || f.Limit != "" && f.Ratio <= 0 {
			t.Errorf("%s is %v, %v of %s", f.Name, f.Value, f.Ratio, f.Limit)
		}
	}
}
