package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hark/internal/process"
)

// disk is a small file system of its own, which can be filled and made read-only.
type disk struct{ dir string }

const diskSize = "size=256m"

func mountDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("hark-torture", dir, "tmpfs", 0, diskSize); err != nil {
		return nil, fmt.Errorf("mount a file system on %s: %w", dir, err)
	}
	return &disk{dir}, nil
}

func (d *disk) unmount() { syscall.Unmount(d.dir, syscall.MNT_DETACH) }

func (d *disk) readOnly(is bool) error {
	flags := uintptr(syscall.MS_REMOUNT)
	if is {
		flags |= syscall.MS_RDONLY
	}
	return syscall.Mount("hark-torture", d.dir, "tmpfs", flags, diskSize)
}

// ballast is the file that fills the disk.
func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all that is free.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2] // to the last byte
		}
	}
	return nil
}

// fillDisk takes all space at once, gives it back, and wants hark to work again.
func (k *rack) fillDisk(ctx context.Context) error {
	return k.during("full disk", func() error {
		if err := k.disk.fill(); err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		if k.hark.Load().Ready() {
			return fmt.Errorf("/readyz is green on a full disk")
		}
		if err := os.Remove(k.disk.ballast()); err != nil {
			return err
		}
		return k.recovers(ctx)
	})
}

// freezeDisk starts hark on a read-only disk, where it must refuse to, and on a mended one.
func (k *rack) freezeDisk(ctx context.Context) error {
	return k.during("read-only disk", func() error {
		k.hark.Load().End(syscall.SIGKILL)
		if err := k.disk.readOnly(true); err != nil {
			return err
		}
		starting, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := k.start(starting); err == nil {
			return fmt.Errorf("hark starts on a read-only disk")
		}
		if err := k.disk.readOnly(false); err != nil {
			return err
		}
		return k.start(ctx)
	})
}

// recovers waits until hark is ready again; one that ended is started, as its supervisor would.
func (k *rack) recovers(ctx context.Context) error {
	for deadline := time.Now().Add(process.StartPatience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		p := k.hark.Load()
		select {
		case <-p.Ended():
			if err := k.start(ctx); err != nil {
				return err
			}
		default:
		}
		if k.hark.Load().Ready() {
			return nil
		}
	}
	return fmt.Errorf("hark is not ready again a minute after the disk was")
}
