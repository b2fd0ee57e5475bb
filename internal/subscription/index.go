package subscription

import (
	"hash/maphash"
	"math/bits"
	"slices"

	"hark/internal/event"
	"hark/internal/id"
)

// Index finds the subscriptions that an event matches without looking at the others: by
// device for DEVICE, by location and capability for CAPABILITY, by location and type for the
// rest. It is not safe for concurrent use; its owner holds a lock. The zero Index is empty.
//
// It is a linear hash table: each subscription is a link of its bucket's chain, and one bucket
// is split for every two that are added, so that no call ever pays for the whole table. A mark
// of eight bits for each bucket says what cannot be in it: most of what is looked for and not
// there is not there for the price of one byte. Removing a subscription costs as much as there
// are others with the same key.
type Index struct {
	segments []*segment // buckets, in pieces that never move
	marks    []*marks
	buckets  int
	count    int
	seed     maphash.Seed
	filters  map[Filter]*shared
	touched  uint64
}

// The pieces of the table of buckets, and of their marks, which lie close together so that they
// stay in the processor's cache.
type (
	segment [1 << segmentBits]*Subscription
	marks   [1 << markBits]uint8
)

const (
	segmentBits = 9
	markBits    = 12
)

// mark is the bit of a key in its bucket's mark.
func mark(key uint64) uint8 { return 1 << (key >> 61) }

// shared is a filter with the number of subscriptions in the index that have it.
type shared struct {
	Filter
	users int
}

// Len returns the number of subscriptions in the index.
func (x *Index) Len() int { return x.count }

// Add adds a subscription that is not in an index. From now on it must not be changed.
func (x *Index) Add(s *Subscription) {
	if x.filters == nil {
		x.seed, x.filters = maphash.MakeSeed(), map[Filter]*shared{}
		x.grow()
	}
	f := x.filters[*s.Filter]
	if f == nil {
		f = &shared{Filter: *s.Filter}
		x.filters[f.Filter] = f
	}
	f.users++
	s.Filter = &f.Filter
	x.count++
	if x.buckets < 2*x.count {
		x.grow()
	}
	key := x.key(s)
	i := x.bucket(key)
	head := x.at(i)
	s.next = *head
	*head = s
	*x.mark(i) |= mark(key)
}

// Remove removes a subscription; one that is not in the index is no fault.
func (x *Index) Remove(s *Subscription) {
	if x.count == 0 {
		return
	}
	i := x.bucket(x.key(s))
	for link := x.at(i); *link != &nobody; link = &(*link).next {
		if *link != s {
			continue
		}
		*link, s.next = s.next, nil
		x.remark(i)
		x.count--
		f := x.filters[*s.Filter]
		if f.users--; f.users == 0 {
			delete(x.filters, f.Filter)
		}
		return
	}
}

// key is the hash under which a subscription is found.
func (x *Index) key(s *Subscription) uint64 {
	switch s.Source {
	case Device:
		return x.deviceKey(s.Device)
	case Capability:
		return x.locationKey(s.Location, s.Capability)
	default:
		return x.locationKey(s.Location, string(s.Source.brings()))
	}
}

func (x *Index) deviceKey(d id.Device) uint64 { return maphash.Bytes(x.seed, d[:]) }

func (x *Index) locationKey(l id.Location, what string) uint64 {
	return maphash.Bytes(x.seed, l[:]) + 31*maphash.String(x.seed, what)
}

// bucket returns the number of the bucket in which the key is.
func (x *Index) bucket(key uint64) int {
	half := 1 << (bits.Len(uint(x.buckets)) - 1) // the largest power of two that is not above the number of buckets
	i := int(key & uint64(2*half-1))
	if i >= x.buckets {
		i -= half
	}
	return i
}

// at returns the head of a bucket's chain.
func (x *Index) at(i int) **Subscription {
	return &x.segments[i>>segmentBits][i&(1<<segmentBits-1)]
}

func (x *Index) mark(i int) *uint8 { return &x.marks[i>>markBits][i&(1<<markBits-1)] }

// remark works out a bucket's mark anew.
func (x *Index) remark(i int) {
	var m uint8
	for s := *x.at(i); s != &nobody; s = s.next {
		m |= mark(x.key(s))
	}
	*x.mark(i) = m
}

// grow adds a bucket and moves into it what belongs there, which is all in one other.
func (x *Index) grow() {
	to := x.buckets
	if to>>segmentBits == len(x.segments) {
		x.segments = append(x.segments, new(segment))
	}
	if to>>markBits == len(x.marks) {
		x.marks = append(x.marks, new(marks))
	}
	x.buckets++
	*x.at(to) = &nobody
	if to == 0 {
		return
	}
	half := 1 << (bits.Len(uint(to)) - 1)
	from := to - half
	s := *x.at(from)
	ends := [2]**Subscription{x.at(from), x.at(to)}
	for ; s != &nobody; s = s.next { // in the same order as before
		side := 0
		if x.key(s)&uint64(2*half-1) == uint64(to) {
			side = 1
		}
		*ends[side] = s
		ends[side] = &s.next
	}
	*ends[0], *ends[1] = &nobody, &nobody
	x.remark(from)
	x.remark(to)
}

// Match appends to dst the subscriptions that the event matches, in the order in which they
// were added within each kind.
func (x *Index) Match(dst []*Subscription, e *event.Event) []*Subscription {
	if x.count == 0 {
		return dst
	}
	w := x.whereabouts(e)
	return w.matching(dst, x.head(w.keys[0]), x.head(w.keys[1]), e)
}

// MatchAll calls fn with each event and the subscriptions that it matches, in order. The list
// is fn's only during the call. It is faster than Match for each: the memory of many events is
// fetched side by side, which counts where a million subscriptions are in no cache.
func (x *Index) MatchAll(events []*event.Event, fn func(*event.Event, []*Subscription)) {
	var matched []*Subscription
	var w [sideBySide]whereabouts
	var heads [sideBySide][2]*Subscription
	for some := range slices.Chunk(events, sideBySide) {
		if x.count == 0 {
			for _, e := range some {
				fn(e, nil)
			}
			continue
		}
		for i, e := range some {
			w[i] = x.whereabouts(e)
		}
		for i := range some {
			heads[i] = [2]*Subscription{x.head(w[i].keys[0]), x.head(w[i].keys[1])}
		}
		for i := range some { // read what matching will look at, so that it is there by then
			x.touched += heads[i][0].touch() + heads[i][1].touch()
		}
		for i := range some {
			x.touched += heads[i][0].next.touch() + heads[i][1].next.touch()
		}
		for i, e := range some {
			matched = w[i].matching(matched[:0], heads[i][0], heads[i][1], e)
			fn(e, matched)
		}
	}
}

// sideBySide is how many events MatchAll has under way.
const sideBySide = 128

// whereabouts is where subscriptions to an event are.
type whereabouts struct {
	keys   [2]uint64 // of the chains
	device id.Device // those of the first chain are for it; those of the second for none
}

// nobody stands for an empty chain and for the end of one, so that following them needs no
// question.
var nobody = func() (s Subscription) { s.next = &nobodyElse; return s }()
var nobodyElse Subscription

// touch reads both cache lines of what matching looks at.
func (s *Subscription) touch() uint64 { return uint64(s.Device[0]) + s.From }

func (x *Index) whereabouts(e *event.Event) whereabouts {
	if e.Device == nil {
		key := x.locationKey(e.Location, string(e.Type))
		return whereabouts{keys: [2]uint64{key, key}}
	}
	return whereabouts{[2]uint64{x.deviceKey(e.Device.Device), x.locationKey(e.Location, e.Device.Capability)}, e.Device.Device}
}

// head returns the first of a key's chain, nobody when there cannot be one with the key.
func (x *Index) head(key uint64) *Subscription {
	i := x.bucket(key)
	if *x.mark(i)&mark(key) == 0 {
		return &nobody
	}
	return *x.at(i)
}

func (w *whereabouts) matching(dst []*Subscription, first, second *Subscription, e *event.Event) []*Subscription {
	dst = matching(dst, first, w.device, e)
	if w.keys[1] == w.keys[0] { // there is but one chain
		return dst
	}
	return matching(dst, second, id.Device{}, e)
}

// matching looks through a chain for those with the device, none for those without one.
func matching(dst []*Subscription, s *Subscription, device id.Device, e *event.Event) []*Subscription {
	first := len(dst)
	for ; s != &nobody; s = s.next {
		if s.Device == device && s.Location == e.Location && s.Matches(e) == Matches {
			dst = append(dst, s)
		}
	}
	if len(dst) > first+1 {
		slices.Reverse(dst[first:]) // a chain has the newest first
	}
	return dst
}
