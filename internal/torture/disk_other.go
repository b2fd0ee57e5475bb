//go:build !linux

package torture

import (
	"context"
	"errors"
)

type disk struct{}

func mountDisk(string) (*disk, error) { return nil, errors.New("only on Linux") }

func (*disk) unmount() {}

func (*rack) fillDisk(context.Context) error   { return nil }
func (*rack) freezeDisk(context.Context) error { return nil }
