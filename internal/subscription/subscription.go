// Package subscription is the model of a webhook subscription (reference 1): reading a
// request, its echo, whether an event matches and why not, and the index that finds the
// matching ones among millions. It is pure; who may subscribe is decided elsewhere.
package subscription

import (
	"slices"

	"hark/internal/capability"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/scope"
)

// SourceType says what a subscription listens to (reference 1.2).
type SourceType string

// The source types that hark delivers.
const (
	Device     SourceType = "DEVICE"
	Capability SourceType = "CAPABILITY"
	Mode       SourceType = "MODE"
)

// Any is the wildcard of component, capability, attribute and value.
const Any = "*"

// Subscription is one wish of an installed app. It is never changed once it is made,
// except for Until, which its owner sets when it is deleted, and Modes, which is replaced.
type Subscription struct {
	ID           id.Subscription
	InstalledApp id.InstalledApp
	Source       SourceType
	Location     id.Location // the installed app's location
	Device       id.Device   // of DEVICE

	Component       string           // "*" is any; CAPABILITY covers every component
	Capability      string           // "*" is any, for DEVICE only
	Attribute       string           // "*" is any
	Value           capability.Value // "" is any
	StateChangeOnly bool
	Modes           []id.Mode // deliver only in one of these; none is always
	Name            string    // "" when the app gave none

	// The journal positions between which it is alive: it sees events after From and, once
	// it is deleted (Until > 0), none after Until.
	From, Until uint64
}

// DeliveryName is the name that events carry: the app's, or the id when it gave none, since
// the official SDK fails on an event without a name (reference 1.4, 3.4).
func (s *Subscription) DeliveryName() string {
	if s.Name == "" {
		return s.ID.String()
	}
	return s.Name
}

// Mismatch is the first condition of a subscription that an event failed. The empty
// Mismatch is a match.
type Mismatch string

// The conditions, in the order in which they are tried.
const (
	Matches            Mismatch = ""
	OtherSource        Mismatch = "the event is of another type, device or location"
	OtherCapability    Mismatch = "the capability differs"
	OtherComponent     Mismatch = "the component differs"
	OtherAttribute     Mismatch = "the attribute differs"
	OtherValue         Mismatch = "the value differs"
	NotAStateChange    Mismatch = "the value did not change, and the subscription wants state changes only"
	ModeNotActive      Mismatch = "the location was in none of the subscription's modes"
	NotYetSubscribed   Mismatch = "the event happened before the subscription was made"
	NoLongerSubscribed Mismatch = "the event happened after the subscription was deleted"
)

// Matches returns the first condition that the event fails, or Matches (reference 1.11).
func (s *Subscription) Matches(e *event.Event) Mismatch {
	if e.Seq <= s.From {
		return NotYetSubscribed
	}
	if s.Until > 0 && e.Seq > s.Until {
		return NoLongerSubscribed
	}
	if e.Location != s.Location {
		return OtherSource
	}
	if s.Source == Mode {
		if e.Type != event.ModeEvent {
			return OtherSource
		}
		return Matches
	}
	r := e.Device
	switch {
	case r == nil || s.Source == Device && r.Device != s.Device:
		return OtherSource
	case s.Capability != Any && s.Capability != r.Capability:
		return OtherCapability
	case s.Component != Any && s.Component != r.Component:
		return OtherComponent
	case s.Attribute != Any && s.Attribute != r.Attribute:
		return OtherAttribute
	case s.Value != "" && !equal(s.Value, r.Value):
		return OtherValue
	case s.StateChangeOnly && !r.StateChange:
		return NotAStateChange
	case len(s.Modes) > 0 && !slices.Contains(s.Modes, e.Mode):
		return ModeNotActive
	}
	return Matches
}

// equal is typed JSON equality with one leniency: a wanted string equals a number or
// boolean with that text, because the SDK's "level.50" form can only send strings
// (reference 1.12).
func equal(want, got capability.Value) bool {
	if want == got {
		return true
	}
	if want.Type() != "string" {
		return false
	}
	t := got.Type()
	return (t == "number" || t == "boolean") && want.Text() == string(got)
}

// Needs returns the scopes of which the installed app must hold one to make the
// subscription (reference 1.5). An event of it needs [EventNeeds].
func (s *Subscription) Needs() []scope.Scope {
	switch s.Source {
	case Device:
		return []scope.Scope{scope.Device("r", s.Device)}
	case Capability:
		return []scope.Scope{"r:devices:*", scope.Scope("r:devices:*:" + s.Capability)}
	default:
		return []scope.Scope{scope.Location("r", s.Location)}
	}
}

// EventNeeds returns the scopes of which one must be held when the event is delivered.
func EventNeeds(e *event.Event) []scope.Scope {
	if e.Device != nil {
		return []scope.Scope{scope.Device("r", e.Device.Device), scope.Scope(string(scope.Device("r", e.Device.Device)) + ":" + e.Device.Capability)}
	}
	return []scope.Scope{scope.Location("r", e.Location)}
}

// Same is the combination of match fields that must be unique in an installed app
// (reference 1.6): everything but the name.
type Same struct {
	source                           SourceType
	location                         id.Location
	device                           id.Device
	component, capability, attribute string
	value                            capability.Value
	stateChangeOnly                  bool
	modes                            string
}

// Same returns the subscription's combination of match fields.
func (s *Subscription) Same() Same {
	modes := slices.Clone(s.Modes)
	slices.SortFunc(modes, func(a, b id.Mode) int { return slices.Compare(a[:], b[:]) })
	var key []byte
	for _, m := range slices.Compact(modes) {
		key = append(key, m[:]...)
	}
	return Same{s.Source, s.Location, s.Device, s.Component, s.Capability, s.Attribute, s.Value, s.StateChangeOnly, string(key)}
}
