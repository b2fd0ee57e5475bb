//go:build !linux && !darwin && !freebsd

package engine

import "math"

func freeBytes(string) (int64, error) { return math.MaxInt64, nil }
