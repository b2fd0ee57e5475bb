package delivery

import (
	"testing"
	"time"
)

// TestDelaysDoubleUpToAMinute holds each delay between half of its step and the whole of it.
func TestDelaysDoubleUpToAMinute(t *testing.T) {
	t.Parallel()
	steps := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}
	distinct := map[time.Duration]bool{}
	for i, step := range steps {
		for range 100 {
			d := delay(i + 1)
			distinct[d] = true
			if d > step*time.Second || d < step*time.Second/2 {
				t.Errorf("after %d failures the delay is %v, want %v to %v", i+1, d, step*time.Second/2, step*time.Second)
			}
		}
	}
	if d := delay(1_000_000); d > time.Minute {
		t.Errorf("after a million failures the delay is %v", d)
	}
	if len(distinct) < 100 {
		t.Errorf("%d different delays of 800: apps that failed together are tried together", len(distinct))
	}
}
