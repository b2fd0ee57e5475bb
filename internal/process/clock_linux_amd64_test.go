package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain is also a program that says what time it is, by both clocks, all the time.
func TestMain(m *testing.M) {
	if os.Getenv("HARK_TEST_CLOCK") == "" {
		os.Exit(m.Run())
	}
	go func() { // another thread that asks
		for time.Now().Year() > 0 {
			runtime.Gosched()
		}
	}()
	for started := time.Now(); time.Since(started) < time.Minute; time.Sleep(time.Millisecond) {
		if _, err := fmt.Println(time.Now().UnixMilli(), time.Since(started).Milliseconds()); err != nil {
			return
		}
	}
}

func TestShiftClock(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HARK_TEST_CLOCK=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &Hark{PID: cmd.Process.Pid, cmd: cmd}
	if err := p.ShiftClock(0); err != nil && os.Getenv("CI") != "true" {
		t.Skip("the clock of a process cannot be set here: ", err)
	}
	lines := bufio.NewScanner(out)
	for _, by := range []time.Duration{0, time.Hour, -3 * time.Hour, 26 * time.Hour, 0} {
		if err := p.ShiftClock(by); err != nil {
			t.Fatal(err)
		}
		reached := false
		for began := time.Now(); !reached && time.Since(began) < 20*time.Second && lines.Scan(); {
			wall, running, _ := strings.Cut(lines.Text(), " ")
			ms, err := strconv.ParseInt(wall, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := strconv.Atoi(running); err != nil || n < 0 || n > 60_000 {
				t.Fatalf("after a shift by %v the monotonic clock says %s ms, %v", by, running, err)
			}
			reached = time.Until(time.UnixMilli(ms)).Round(time.Minute) == by
		}
		if !reached {
			t.Errorf("the clock is not %v off", by)
		}
	}
}
