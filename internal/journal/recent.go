package journal

import (
	"sort"
	"sync"

	"hark/internal/event"
	"hark/internal/id"
)

// recent keeps what was read of late: the apps of a home that were down together read the same
// events at the same time. What is durable never changes, so it is never wrong.
type recent struct {
	mu     sync.Mutex
	chunks [8]chunk
	next   int // is replaced next
}

// chunk is all events of a location after a position, up to the last of them.
type chunk struct {
	location id.Location
	after    uint64
	events   []*event.Event
}

// leastKept is how many events are worth keeping.
const leastKept = 32

func (r *recent) add(at id.Location, after uint64, events []*event.Event) {
	if len(events) < leastKept {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chunks[r.next] = chunk{at, after, events}
	r.next = (r.next + 1) % len(r.chunks)
}

// find returns up to limit events that follow the position, none when it does not know them.
func (r *recent) find(at id.Location, after uint64, limit int) []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.chunks {
		if c.location != at || len(c.events) == 0 || after < c.after || after >= c.events[len(c.events)-1].Seq {
			continue
		}
		i := sort.Search(len(c.events), func(i int) bool { return c.events[i].Seq > after })
		end := min(i+limit, len(c.events))
		return c.events[i:end:end]
	}
	return nil
}
