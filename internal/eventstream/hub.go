package eventstream

import (
	"errors"
	"sync"

	"hark/internal/event"
	"hark/internal/id"
)

// Why a stream ends. A client opens it again with the last id it saw, and misses nothing.
var (
	ErrTooSlow  = errors.New("the reader is too slow: too many events wait for it")
	ErrReplaced = errors.New("the same stream was opened again")
	ErrDeleted  = errors.New("the stream was deleted")
	ErrStopping = errors.New("the server is stopping")
)

// maxWaiting is how many events wait for one open stream; with more it is cut off.
const maxWaiting = 1024

// Hub hands live events to open streams. The zero Hub is ready. It is safe for concurrent use.
type Hub struct {
	mu      sync.Mutex
	open    map[id.Stream]*Live
	last    uint64 // position of the newest event handed out
	closing bool
}

// Live is an open stream. Events arrive on C, in order; when it is closed, Err says why.
type Live struct {
	C     <-chan *event.Event
	After uint64 // C has every event after this position

	registration *Registration
	events       chan *event.Event
	err          error // set before events is closed
}

// Err returns why the stream ended, once C is closed.
func (l *Live) Err() error { return l.err }

// Open starts handing events to a stream. A stream that is open already is replaced: the old
// connection may be one that died unnoticed.
func (h *Hub) Open(r *Registration) (*Live, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil, ErrStopping
	}
	h.end(r.ID, ErrReplaced)
	events := make(chan *event.Event, maxWaiting)
	l := &Live{C: events, After: h.last, registration: r, events: events}
	if h.open == nil {
		h.open = map[id.Stream]*Live{}
	}
	h.open[r.ID] = l
	return l, nil
}

// Leave ends a stream whose reader is gone.
func (h *Hub) Leave(l *Live) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open[l.registration.ID] == l {
		delete(h.open, l.registration.ID)
	}
}

// End ends the stream if it is open.
func (h *Hub) End(stream id.Stream, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(stream, why)
}

func (h *Hub) end(stream id.Stream, why error) {
	if l := h.open[stream]; l != nil {
		delete(h.open, stream)
		l.err = why
		close(l.events)
	}
}

// Reach says that events up to the position are the past: streams read those elsewhere.
func (h *Hub) Reach(position uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last, position)
}

// Publish hands durable events out, in journal order. It never waits: a stream with too many
// events waiting is cut off, and slows nobody.
func (h *Hub) Publish(e *event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = e.Seq
	for stream, l := range h.open {
		if !l.registration.Matches(e) {
			continue
		}
		select {
		case l.events <- e:
		default:
			h.end(stream, ErrTooSlow)
		}
	}
}

// Close ends all streams and lets none be opened any more.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing = true
	for stream := range h.open {
		h.end(stream, ErrStopping)
	}
}

// Len returns the number of open streams.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open)
}
