//go:build unix

package process

import "syscall"

// CanFreeze says that processes can be stopped for a while.
const CanFreeze = true

// Freeze stops the process where it is.
func (p *Hark) Freeze() { p.cmd.Process.Signal(syscall.SIGSTOP) } // it may have ended

// Thaw has a frozen process go on.
func (p *Hark) Thaw() { p.cmd.Process.Signal(syscall.SIGCONT) } // likewise
