//go:build !linux

package e2e

import (
	"errors"
	"testing"

	"hark/internal/engine/enginetest"
)

func namespaces(*testing.T, []enginetest.Node, int) ([]link, error) {
	return nil, errors.New("only on Linux")
}
