package eventstream

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/scope"
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

// Hub hands live events to open streams. It writes nothing and starts nothing: an open stream
// is some memory, and who opened it is told when there is something to write. The zero Hub is
// ready. It is safe for concurrent use.
type Hub struct {
	mu         sync.Mutex
	open       map[id.Stream]*Live
	at         map[id.Location]map[*Live]struct{} // streams that show events of some locations
	everywhere map[*Live]struct{}                 // and of all
	last       uint64                             // position of the newest event handed out
	closing    bool
	opened     int                    // streams so far
	closed     map[id.Stream]struct{} // were open
	turn       int                    // of beats
	handed     uint64                 // messages
}

// Item is an event for streams, with what all of them need worked out once.
type Item struct {
	*event.Event
	needs  []scope.Scope
	once   sync.Once
	before []byte // of the stream's name
	after  []byte
	named  bool
}

// NewItem returns the event as streams show it.
func NewItem(e *event.Event) *Item { return &Item{Event: e, needs: e.Needs()} }

// ShownTo reports whether the principal may see the event now.
func (it *Item) ShownTo(p scope.Principal) bool {
	return p.Sees(it.Location) && (p.IsApp() && it.InstalledApp == p.InstalledApp || p.May(it.needs...))
}

// placeholder stands for the stream's name until it is known. Nobody can guess it, so no
// device can say it.
var placeholder = rand.Text()

// AppendFrame appends the event in the form of a stream with the name, which is JSON (reference
// 2.5): its position, its type and one line of JSON.
func (it *Item) AppendFrame(b, name []byte) []byte {
	it.once.Do(func() {
		data, err := json.Marshal(it.Stream(placeholder))
		if err != nil {
			panic("eventstream: " + err.Error()) // every event marshals
		}
		frame := append([]byte(nil), "id: "+strconv.FormatUint(it.Seq, 10)+"\nevent: "+string(it.Type)+"\ndata: "...)
		frame = append(append(frame, data...), "\n\n"...)
		it.before, it.after, it.named = bytes.Cut(frame, []byte(`"`+placeholder+`"`))
	})
	b = append(b, it.before...)
	if it.named {
		b = append(b, name...)
	}
	return append(b, it.after...)
}

// Live is an open stream.
type Live struct {
	After uint64 // it gets every event after this position

	hub          *Hub
	registration *Registration
	name         []byte // as JSON
	ready        func()
	gone         func() bool
	places       []id.Location
	waiting      []*Item
	told         bool // ready was called, and Take has not come to the end since
	beat         bool // a comment is due
	slot         int
	err          error
}

// Open starts handing events to a stream. A stream that is open already is replaced: the old
// connection may be one that died unnoticed. Ready is called, with the hub locked, when there
// is something to [Live.Take]; it must return at once. The first turn is the opener's: ready
// is not called before Take has found nothing. Gone reports whether the reader has left.
func (h *Hub) Open(r *Registration, p scope.Principal, ready func(), gone func() bool) (*Live, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil, ErrStopping
	}
	h.end(h.open[r.ID], ErrReplaced)
	if h.open == nil {
		h.open, h.at, h.everywhere = map[id.Stream]*Live{}, map[id.Location]map[*Live]struct{}{}, map[*Live]struct{}{}
		h.closed = map[id.Stream]struct{}{}
	}
	h.opened++
	l := &Live{After: h.last, hub: h, ready: ready, gone: gone, slot: h.opened % Beats, told: true}
	h.open[r.ID] = l
	h.put(l, r, p)
	return l, nil
}

// put sets what the stream shows.
func (h *Hub) put(l *Live, r *Registration, p scope.Principal) {
	l.registration, l.name = r, r.NameJSON()
	places, some := r.places(p)
	if l.places = places; !some {
		h.everywhere[l] = struct{}{}
	}
	for _, at := range places {
		if h.at[at] == nil {
			h.at[at] = map[*Live]struct{}{}
		}
		h.at[at][l] = struct{}{}
	}
}

func (h *Hub) take(l *Live) {
	delete(h.everywhere, l)
	for _, at := range l.places {
		if delete(h.at[at], l); len(h.at[at]) == 0 {
			delete(h.at, at)
		}
	}
	l.places = nil
}

// Replace changes what a stream shows, from the next event on, if it is open.
func (h *Hub) Replace(r *Registration, p scope.Principal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.open[r.ID]; l != nil {
		h.take(l)
		h.put(l, r, p)
	}
}

// tell says that there is something to take.
func (l *Live) tell() {
	if !l.told {
		l.told = true
		l.ready()
	}
}

// Take appends to dst the events that wait, and returns them with the stream's name as JSON,
// whether a comment is due, and why the stream ended, nil while it goes on. More is false
// when there is nothing; ready is called again once there is.
func (l *Live) Take(dst []*Item) (items []*Item, name []byte, beat bool, ended error, more bool) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	items, name, beat, ended = append(dst, l.waiting...), l.name, l.beat, l.err
	if more = len(items) > 0 || beat || ended != nil; !more {
		l.told = false
	}
	l.beat = false
	clear(l.waiting)
	if l.waiting = l.waiting[:0]; cap(l.waiting) > 8 {
		l.waiting = nil // an idle stream costs little
	}
	return items, name, beat, ended, more
}

// Leave ends a stream whose reader is gone. Nobody is told.
func (h *Hub) Leave(l *Live) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(l)
}

func (h *Hub) forget(l *Live) bool {
	if l == nil || h.open[l.registration.ID] != l {
		return false
	}
	delete(h.open, l.registration.ID)
	h.closed[l.registration.ID] = struct{}{}
	h.take(l)
	return true
}

// End ends the stream if it is open; it can be opened again.
func (h *Hub) End(stream id.Stream, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(h.open[stream], why)
}

func (h *Hub) end(l *Live, why error) {
	if h.forget(l) {
		l.err = why
		l.tell()
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
	var it *Item
	for _, streams := range [2]map[*Live]struct{}{h.at[e.Location], h.everywhere} {
		for l := range streams {
			if !l.registration.Matches(e) {
				continue
			}
			if it == nil {
				it = NewItem(e)
			}
			if len(l.waiting) >= maxWaiting {
				h.end(l, ErrTooSlow)
				continue
			}
			l.waiting = append(l.waiting, it)
			h.handed++
			l.tell()
		}
	}
}

// Beats is the number of calls to [Hub.Beat] after which every stream has had its comment.
const Beats = 14

// Beat has a part of the streams write a comment: called every second, each writes one every
// 14 s.
func (h *Hub) Beat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn = (h.turn + 1) % Beats
	for _, l := range h.open {
		if l.slot == h.turn {
			l.beat = true
			l.tell()
		}
	}
}

// ErrGone ends a stream whose reader left without a word.
var ErrGone = errors.New("the reader is gone")

// Sweep ends the streams whose readers have left.
func (h *Hub) Sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.open {
		if l.gone() {
			h.end(l, ErrGone)
		}
	}
}

// WasOpen reports whether the stream was open since the start, and is no more.
func (h *Hub) WasOpen(stream id.Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, was := h.closed[stream]
	return was && h.open[stream] == nil
}

// Forget ends a stream for good.
func (h *Hub) Forget(stream id.Stream, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(h.open[stream], why)
	delete(h.closed, stream)
}

// IsOpen reports whether the stream has a reader.
func (h *Hub) IsOpen(stream id.Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open[stream] != nil
}

// Close ends all streams and lets none be opened any more.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing = true
	for _, l := range h.open {
		h.end(l, ErrStopping)
	}
}

// Len returns the number of open streams.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open)
}

// Handed returns how many messages streams have been handed since the start.
func (h *Hub) Handed() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.handed
}
