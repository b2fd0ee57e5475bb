//go:build !linux || !amd64

package process

import (
	"errors"
	"time"
)

// ShiftClock is only there on Linux with amd64.
func (p *Hark) ShiftClock(time.Duration) error {
	return errors.New("only on Linux with amd64")
}
