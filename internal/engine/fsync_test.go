//go:build linux && amd64

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hark/internal/engine"
)

// childVariable tells the test binary to be the traced program: "directory count".
const childVariable = "HARK_TEST_FSYNC_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childVariable); args != "" {
		if err := appendBatches(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// appendBatches appends 20 batches of the given size to an embedded engine. It marks their
// beginning and end by looking for files that do not exist, which a tracer sees.
func appendBatches(args string) error {
	dir, size, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	e, err := engine.Open(context.Background(), engine.Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	s, err := e.OpenStream(context.Background(), config)
	if err != nil {
		return err
	}
	entries := make([]engine.Entry, n)
	for i := range entries {
		entries[i] = engine.Entry{Key: "home.device", Data: make([]byte, 400)}
	}
	syscall.Access(beginMark, 0)
	for range tracedBatches {
		if _, err := s.AppendWait(context.Background(), entries...); err != nil {
			return err
		}
	}
	syscall.Access(endMark, 0)
	return nil // without closing: that syncs too
}

const (
	tracedBatches = 20
	beginMark     = "/hark-trace-begin"
	endMark       = "/hark-trace-end"
)

// TestOneFsyncForABatch counts the system calls of a real process: however many entries are
// appended together, the number of fsyncs is about the same, and it is never none.
func TestOneFsyncForABatch(t *testing.T) {
	counts := map[int]float64{}
	for _, size := range []int{1, 100, 1000} {
		n, err := countSyncs(t.TempDir(), size)
		if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
			t.Skip("this system does not let a process trace another, so fsyncs cannot be counted")
		}
		if err != nil {
			t.Fatal(err)
		}
		counts[size] = float64(n) / tracedBatches
		t.Logf("%.1f fsyncs for an append of %d", counts[size], size)
	}
	if counts[1] < 1 {
		t.Errorf("%.1f fsyncs for an append of one entry: it is acknowledged before it is durable", counts[1])
	}
	if counts[1000] < 1 || counts[1000] > counts[100]+3 || counts[1000] > 12 {
		t.Errorf("%.1f fsyncs for a batch of 1000, %.1f for one of 100: the batch is not one group", counts[1000], counts[100])
	}
}

// countSyncs runs this test binary as the traced program and counts its fsync and fdatasync
// calls between the marks, by ptrace.
func countSyncs(dir string, size int) (count int, err error) {
	runtime.LockOSThread() // only the thread that traces may ask
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir+" "+strconv.Itoa(size))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	const goodSyscalls = 0x80 | 1
	if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACECLONE|goodSyscalls); err != nil {
		return 0, err
	}
	if err := syscall.PtraceSyscall(pid, 0); err != nil {
		return 0, err
	}
	tracing := false
	inside := map[int]bool{} // threads within a system call
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if err != nil {
			return 0, err
		}
		if status.Exited() || status.Signaled() {
			if tid == pid {
				if status.ExitStatus() != 0 {
					return 0, fmt.Errorf("the traced program failed: %d", status.ExitStatus())
				}
				return count, nil
			}
			continue
		}
		signal := 0
		switch stop := status.StopSignal(); {
		case stop == syscall.SIGTRAP|0x80: // at the start or end of a system call
			inside[tid] = !inside[tid]
			var regs syscall.PtraceRegs
			if inside[tid] && syscall.PtraceGetRegs(tid, &regs) == nil {
				switch regs.Orig_rax {
				case syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
					if tracing {
						count++
					}
				case syscall.SYS_ACCESS, syscall.SYS_FACCESSAT:
					path := regs.Rdi
					if regs.Orig_rax == syscall.SYS_FACCESSAT {
						path = regs.Rsi
					}
					text := make([]byte, len(beginMark))
					syscall.PtracePeekData(tid, uintptr(path), text)
					tracing = string(text) == beginMark || tracing && !strings.HasPrefix(string(text), endMark)
				}
			}
		case stop == syscall.SIGTRAP, stop == syscall.SIGSTOP: // a new thread
		default:
			signal = int(stop)
		}
		syscall.PtraceSyscall(tid, signal) // fails for a thread that has just ended
	}
	cmd.Process.Kill()
	return 0, fmt.Errorf("the traced program did not end within a minute")
}
