package e2e

import (
	"testing"

	"hark/internal/process"
)

// TestEventSourceMissesNothing reads a stream with the EventSource of npm, which loses its
// connection again and again while events happen.
func TestEventSourceMissesNothing(t *testing.T) {
	t.Parallel()
	requireNode(t)
	h := start(t, "--listen", "127.0.0.1:0")
	light := h.device("Ceiling light")
	w := newWire(t, h.BaseURL[len("http://"):])
	near := hark{&process.Hark{BaseURL: "http://" + w.Addr().String(), Token: h.Token}, t}
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
