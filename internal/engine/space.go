package engine

import (
	"fmt"
	"sync"
	"time"
)

// space watches how much room the file system of a directory has.
type space struct {
	dir  string
	need int64 // bytes; 0 does not look

	mu     sync.Mutex
	looked time.Time
	err    error
}

// lookEvery is how old an answer may be.
const lookEvery = time.Second

// Free returns how many bytes are free where the embedded engine stores, -1 when it is not known.
func (e *Engine) Free() int64 {
	if e.space.dir == "" {
		return -1
	}
	free, err := freeBytes(e.space.dir)
	if err != nil {
		return -1
	}
	return free
}

// cramped is how few free bytes make it likely that an append fails: a batch has files of its own
// before it is part of the stream.
const cramped = 4 << 20

// least is how many bytes must be free to go on once the disk was full.
func (s *space) least() int64 { return max(s.need, cramped) }

// HasRoom reports whether enough is free to open the embedded engine anew.
func (e *Engine) HasRoom() bool {
	free := e.Free()
	return free < 0 || free >= e.space.least()
}

// withSpace adds to why an append failed that the disk is full, which JetStream does not say of a
// batch.
func (e *Engine) withSpace(err error) error {
	if free := e.Free(); free >= 0 && free < cramped {
		return fmt.Errorf("no space left for more at %s, where %d KB are free: %w", e.space.dir, free>>10, err)
	}
	return err
}

// Full returns why nothing should be stored but what must be, nil while there is room: less is
// free on the embedded engine's file system than [Config.MinFree]. Other engines have limits of
// their own, which they enforce.
func (e *Engine) Full() error {
	s := &e.space
	if s.dir == "" || s.need == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.looked) > lookEvery {
		s.looked, s.err = now, nil
		switch free, err := freeBytes(s.dir); {
		case err != nil:
			s.err = fmt.Errorf("how much is free at %s cannot be told: %w", s.dir, err)
		case free < s.need:
			s.err = fmt.Errorf("the disk is filling: %d MB are free at %s, and %d MB are kept for what is under way (--min-free). Free some, or keep events for a shorter time (--retention, --retention-bytes)",
				free>>20, s.dir, s.need>>20)
		}
	}
	return s.err
}
