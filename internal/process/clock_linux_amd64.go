package process

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockFunction is how programs ask the kernel for the time without a system call: code that the
// kernel maps into each process (vDSO).
const clockFunction = "__vdso_clock_gettime"

// shiftedClock is what replaces that code: the system call, and for the wall clock so many seconds
// more. It ends with these seconds, as eight bytes.
var shiftedClock = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
	0x75, 0x0a, // jne over the addition
	0x48, 0x8b, 0x0d, 0x04, 0x00, 0x00, 0x00, // mov rcx, [the seconds]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, // ret
}

// ShiftClock sets the process's wall clock that far from the machine's, in whole seconds, as if
// somebody had set the machine's. Its monotonic clock goes on.
func (p *Hark) ShiftClock(by time.Duration) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", p.PID), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	at, size, err := clockCode(p.PID, mem)
	if err != nil {
		return err
	}
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	there := make([]byte, len(shiftedClock))
	if _, err := mem.ReadAt(there, int64(at)); err != nil {
		return err
	}
	if bytes.Equal(there, shiftedClock) {
		_, err := mem.WriteAt(seconds, int64(at)+int64(len(shiftedClock)))
		return err
	}
	code := append(there[:0], shiftedClock...)
	code = append(code, seconds...)
	if uint64(len(code)) > size {
		return fmt.Errorf("%s has %d bytes, too few for another of %d", clockFunction, size, len(code))
	}
	p.Freeze()
	defer p.Thaw()
	for range 1000 { // until no thread is just asking for the time
		inside, err := anyThreadIn(p.PID, at, at+size)
		if err != nil {
			return err
		}
		if !inside {
			_, err := mem.WriteAt(code, int64(at))
			return err
		}
		p.Thaw()
		time.Sleep(100 * time.Microsecond)
		p.Freeze()
	}
	return errors.New("the process asks for the time all the time")
}

// clockCode finds the function in a process: its address and size.
func clockCode(pid int, mem io.ReaderAt) (at, size uint64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return 0, 0, err
		}
		image := make([]byte, to-from)
		if _, err := mem.ReadAt(image, int64(from)); err != nil {
			return 0, 0, err
		}
		file, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			return 0, 0, err
		}
		symbols, err := file.DynamicSymbols()
		if err != nil {
			return 0, 0, err
		}
		for _, s := range symbols {
			if s.Name == clockFunction {
				return from + s.Value, s.Size, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("the process has no %s", clockFunction)
}

// anyThreadIn reports whether a thread of the process executes code of the range, or still runs.
func anyThreadIn(pid int, from, to uint64) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("the threads of the process: %w", errors.Join(err, os.ErrNotExist))
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		fields := strings.Fields(string(b)) // "running", or the system call, its arguments, stack and program counter
		pc, err := strconv.ParseUint(fields[len(fields)-1], 0, 64)
		if err != nil || pc >= from && pc < to {
			return true, nil
		}
	}
	return false, nil
}
