//go:build !unix

package process

// CanFreeze says that processes cannot be stopped for a while.
const CanFreeze = false

// Freeze is only there on Unix.
func (p *Hark) Freeze() {}

// Thaw is only there on Unix.
func (p *Hark) Thaw() {}
