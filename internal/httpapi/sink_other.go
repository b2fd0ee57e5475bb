//go:build !unix

package httpapi

// canTry says that each write to a stream has a goroutine that waits for it.
const canTry = false

func tryWrite(uintptr, []byte) (int, error) { return 0, nil }
func isClosed(uintptr) bool                 { return false }
