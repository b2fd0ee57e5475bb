package subscription

import (
	"hark/internal/event"
	"hark/internal/id"
)

// Index finds the subscriptions that an event matches without looking at the others: by
// device for DEVICE, by location and capability for CAPABILITY, by location for MODE. It is
// not safe for concurrent use; its owner holds a lock. The zero Index is empty.
type Index struct {
	byDevice     map[id.Device][]*Subscription
	byCapability map[capabilityKey][]*Subscription
	byMode       map[id.Location][]*Subscription
	count        int
}

type capabilityKey struct {
	location   id.Location
	capability string
}

// Len returns the number of subscriptions in the index.
func (x *Index) Len() int { return x.count }

// Add adds a subscription that is not in the index.
func (x *Index) Add(s *Subscription) {
	if x.byDevice == nil {
		x.byDevice = map[id.Device][]*Subscription{}
		x.byCapability = map[capabilityKey][]*Subscription{}
		x.byMode = map[id.Location][]*Subscription{}
	}
	x.count++
	switch s.Source {
	case Device:
		x.byDevice[s.Device] = append(x.byDevice[s.Device], s)
	case Capability:
		k := capabilityKey{s.Location, s.Capability}
		x.byCapability[k] = append(x.byCapability[k], s)
	case Mode:
		x.byMode[s.Location] = append(x.byMode[s.Location], s)
	}
}

// Remove removes a subscription; one that is not in the index is no fault.
func (x *Index) Remove(s *Subscription) {
	removed := false
	switch s.Source {
	case Device:
		removed = remove(x.byDevice, s.Device, s)
	case Capability:
		removed = remove(x.byCapability, capabilityKey{s.Location, s.Capability}, s)
	case Mode:
		removed = remove(x.byMode, s.Location, s)
	}
	if removed {
		x.count--
	}
}

// remove keeps the order of the others, which is the order in which they were made.
func remove[K comparable](m map[K][]*Subscription, k K, s *Subscription) bool {
	list := m[k]
	for i, other := range list {
		if other != s {
			continue
		}
		if len(list) == 1 {
			delete(m, k)
			return true
		}
		rest := make([]*Subscription, 0, len(list)-1)
		m[k] = append(append(rest, list[:i]...), list[i+1:]...)
		return true
	}
	return false
}

// Match appends to dst the subscriptions that the event matches, in the order in which they
// were added within each kind.
func (x *Index) Match(dst []*Subscription, e *event.Event) []*Subscription {
	if e.Device != nil {
		dst = matching(dst, x.byDevice[e.Device.Device], e)
		return matching(dst, x.byCapability[capabilityKey{e.Location, e.Device.Capability}], e)
	}
	return matching(dst, x.byMode[e.Location], e)
}

func matching(dst, candidates []*Subscription, e *event.Event) []*Subscription {
	for _, s := range candidates {
		if s.Matches(e) == Matches {
			dst = append(dst, s)
		}
	}
	return dst
}
