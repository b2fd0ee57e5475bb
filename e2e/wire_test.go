package e2e

import (
	"net"
	"sync"
	"testing"
)

// wire stands between clients and a TCP server. It can cut their connections, and it can be
// interrupted, as a network is: then nothing comes through, and nobody is told.
type wire struct {
	net.Listener
	to string

	mu          sync.Mutex
	open        []net.Conn
	interrupted bool
	mended      sync.Cond
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	w.mended.L = &w.mu
	t.Cleanup(func() { l.Close(); w.interrupt(false); w.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go w.connect(in)
		}
	}()
	return w
}

// connect passes on what a client sends, and what it is answered.
func (w *wire) connect(in net.Conn) {
	w.pass()
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		in.Close()
		return
	}
	w.mu.Lock()
	w.open = append(w.open, in, out)
	w.mu.Unlock()
	go w.copy(out, in)
	w.copy(in, out)
}

func (w *wire) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.pass()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// pass waits until something comes through.
func (w *wire) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.interrupted {
		w.mended.Wait()
	}
}

// interrupt lets nothing through, or all again, with what was held up.
func (w *wire) interrupt(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupted = is
	w.mended.Broadcast()
}

// cut breaks all connections off.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}
