package e2e

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"hark/internal/torture"
)

// wire is a TCP connection to hark that can be cut.
type wire struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
	return w
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

// TestEventSourceMissesNothing reads a stream with the EventSource of npm, which loses its
// connection again and again while events happen.
func TestEventSourceMissesNothing(t *testing.T) {
	t.Parallel()
	requireNode(t)
	h := start(t, "--listen", "127.0.0.1:0")
	light := h.device("Ceiling light")
	w := newWire(t, strings.TrimPrefix(h.BaseURL, "http://"))
	near := hark{&torture.Process{BaseURL: "http://" + w.Addr().String(), Token: h.Token}, t}
	reader := near.run("node/stream.js")
	want(t, "the first word", reader.next("control")["data"], "welcome")
	value := 0
	report := func(n int) {
		for range n {
			value++
			h.call("POST", "/virtualdevices/"+light+"/events", map[string]any{"deviceEvents": []any{map[string]any{"capability": "switchLevel", "attribute": "level", "value": value}}}, nil)
		}
	}
	seen := 0
	for range 3 {
		report(5)
		for range 5 {
			seen++
			want(t, "the streamed value", reader.next("event")["value"], seen)
		}
		w.cut()
		report(5) // nobody listens
		want(t, "the first word again", reader.next("control")["data"], "welcome")
		for range 5 {
			seen++
			want(t, "the value that was missed", reader.next("event")["value"], seen)
		}
	}
}
