// Package subscription is the model of a webhook subscription (reference 1): reading a
// request, its echo, whether an event matches and why not, and the index that finds the
// matching ones among millions. It is pure; who may subscribe is decided elsewhere.
package subscription

import (
	"slices"
	"unique"

	"hark/internal/capability"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/scope"
)

// SourceType says what a subscription listens to (reference 1.2).
type SourceType string

// The source types.
const (
	Device           SourceType = "DEVICE"
	Capability       SourceType = "CAPABILITY"
	Mode             SourceType = "MODE"
	DeviceLifecycle  SourceType = "DEVICE_LIFECYCLE"
	DeviceHealth     SourceType = "DEVICE_HEALTH"
	SecurityArmState SourceType = "SECURITY_ARM_STATE"
	HubHealth        SourceType = "HUB_HEALTH"
	SceneLifecycle   SourceType = "SCENE_LIFECYCLE"

	// own is the source of what concerns an installed app alone, which it gets unasked.
	own SourceType = "OWN"
)

// sources lists what a request can name, with the member that holds its details and the
// events that it brings. Records hold places in it: add at the end.
var sources = []struct {
	source SourceType
	key    string
	brings event.Type
}{
	{Device, "device", event.DeviceEvent},
	{Capability, "capability", event.DeviceEvent},
	{Mode, "mode", event.ModeEvent},
	{DeviceLifecycle, "deviceLifecycle", event.DeviceLifecycleEvent},
	{DeviceHealth, "deviceHealth", event.DeviceHealthEvent},
	{SecurityArmState, "securityArmState", event.SecurityArmStateEvent},
	{HubHealth, "hubHealth", event.HubHealthEvent},
	{SceneLifecycle, "sceneLifecycle", event.SceneLifecycleEvent},
}

// Any is the wildcard of component, capability, attribute and value.
const Any = "*"

// Subscription is one wish of an installed app. It is never changed once it is in an index:
// its owner replaces it by a copy. A million of them are held, so it is small: what many have
// in common is shared, and what matching looks at comes first.
type Subscription struct {
	Device   id.Device   // of DEVICE
	Location id.Location // the installed app's location
	*Filter              // what it asks of an event; shared with its like
	next     *Subscription

	// The journal positions between which it is alive: it sees events after From and, once
	// it is deleted (Until > 0), none after Until.
	From, Until uint64

	App  *id.InstalledApp // whose it is; shared by all of the app's
	ID   id.Subscription
	name unique.Handle[string] // the zero Handle for none
}

// Filter is what a subscription asks of an event beside its device and location.
type Filter struct {
	Source          SourceType
	Component       string           // "*" is any; CAPABILITY covers every component
	Capability      string           // "*" is any
	Attribute       string           // "*" is any
	Value           capability.Value // "" is any
	StateChangeOnly bool

	modes   packedIDs // deliver only in one of these; none is always
	devices packedIDs // of DEVICE_LIFECYCLE and DEVICE_HEALTH; none is every one of the location
}

// packedIDs is a list of ids as a string, so that filters can be compared.
type packedIDs string

func pack[I ~[16]byte](ids []I) packedIDs {
	b := make([]byte, 0, 16*len(ids))
	for _, i := range ids {
		b = append(b, i[:]...)
	}
	return packedIDs(b)
}

// unpack returns the list, never nil.
func unpack[I ~[16]byte](p packedIDs) []I {
	ids := make([]I, 0, len(p)/16)
	for ; len(p) > 0; p = p[16:] {
		ids = append(ids, I([]byte(p[:16])))
	}
	return ids
}

func (p packedIDs) holds(i [16]byte) bool {
	for ; len(p) > 0; p = p[16:] {
		if string(p[:16]) == string(i[:]) {
			return true
		}
	}
	return false
}

func (p packedIDs) sorted() packedIDs {
	ids := unpack[[16]byte](p)
	slices.SortFunc(ids, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	return pack(slices.Compact(ids))
}

// Modes returns the modes in which it delivers, none for always. The list is the caller's.
func (f *Filter) Modes() []id.Mode { return unpack[id.Mode](f.modes) }

// Devices returns the devices that a DEVICE_LIFECYCLE or DEVICE_HEALTH subscription is about,
// none for all of the location. The list is the caller's.
func (f *Filter) Devices() []id.Device { return unpack[id.Device](f.devices) }

// Name returns the name that the app gave it, "" for none.
func (s *Subscription) Name() string {
	if s.name == (unique.Handle[string]{}) {
		return ""
	}
	return s.name.Value()
}

func (s *Subscription) setName(name string) {
	s.name = unique.Handle[string]{}
	if name != "" {
		s.name = unique.Make(name)
	}
}

// WithoutMode returns a copy that does not ask for the mode.
func (s *Subscription) WithoutMode(mode id.Mode) *Subscription {
	left, filter := *s, *s.Filter
	filter.modes = pack(slices.DeleteFunc(s.Modes(), func(m id.Mode) bool { return m == mode }))
	left.Filter, left.next = &filter, nil
	return &left
}

// EndedAt returns a copy that sees no event after the position.
func (s *Subscription) EndedAt(position uint64) *Subscription {
	ended := *s
	ended.Until, ended.next = position, nil
	return &ended
}

// Always returns the subscription as if it had been there from the first event on. The result
// is not for an index.
func (s *Subscription) Always() *Subscription {
	always := *s
	always.From, always.next = 0, nil
	return &always
}

// ownFilter is what every installed app wants without asking.
var ownFilter = &Filter{Source: own}

// Own returns what every installed app has without asking: its timers, and commands to its
// devices.
func Own(app *id.InstalledApp, at id.Location) *Subscription {
	s := &Subscription{Filter: ownFilter, App: app, Location: at}
	s.setName("unasked")
	return s
}

// DeliveryName is the name that events carry: the app's, or the id when it gave none, since
// the official SDK fails on an event without a name (reference 1.4, 3.4).
func (s *Subscription) DeliveryName() string {
	if name := s.Name(); name != "" {
		return name
	}
	return s.ID.String()
}

// Mismatch is the first condition of a subscription that an event failed. The empty
// Mismatch is a match.
type Mismatch string

// The conditions, in the order in which they are tried.
const (
	Matches            Mismatch = ""
	NotYetSubscribed   Mismatch = "the event happened before the subscription was made"
	NoLongerSubscribed Mismatch = "the event happened after the subscription was deleted"
	OtherSource        Mismatch = "the event is of another type, device or location"
	OtherDevice        Mismatch = "the device is none of the subscription's deviceIds"
	OtherCapability    Mismatch = "the capability differs"
	OtherComponent     Mismatch = "the component differs"
	OtherAttribute     Mismatch = "the attribute differs"
	OtherValue         Mismatch = "the value differs"
	NotAStateChange    Mismatch = "the value did not change, and the subscription wants state changes only"
	ModeNotActive      Mismatch = "the location was in none of the subscription's modes"
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
	switch f := s.Filter; f.Source {
	case Device, Capability:
		if e.Device == nil || f.Source == Device && e.Device.Device != s.Device {
			return OtherSource
		}
		return f.matches(e)
	case own:
		if !e.Unasked() || e.InstalledApp != *s.App {
			return OtherSource
		}
		return Matches
	default:
		switch {
		case e.Type != f.Source.brings():
			return OtherSource
		case f.devices != "" && !f.devices.holds(e.About()):
			return OtherDevice
		}
		return Matches
	}
}

// matches is for DEVICE and CAPABILITY.
func (f *Filter) matches(e *event.Event) Mismatch {
	r := e.Device
	switch {
	case f.Capability != Any && f.Capability != r.Capability:
		return OtherCapability
	case f.Component != Any && f.Component != r.Component:
		return OtherComponent
	case f.Attribute != Any && f.Attribute != r.Attribute:
		return OtherAttribute
	case f.Value != "" && !equal(f.Value, r.Value):
		return OtherValue
	case f.StateChangeOnly && !r.StateChange:
		return NotAStateChange
	case f.modes != "" && !f.modes.holds(e.Mode):
		return ModeNotActive
	}
	return Matches
}

// brings returns the type of event that a source type is about.
func (t SourceType) brings() event.Type {
	for i := range sources {
		if sources[i].source == t {
			return sources[i].brings
		}
	}
	return ""
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

// Needs returns the scopes that the installed app needs to make the subscription: of each
// list, it must hold one (reference 1.5). An event of it needs [event.Event.Needs].
func (s *Subscription) Needs() [][]scope.Scope {
	switch s.Source {
	case Device:
		return [][]scope.Scope{{scope.Device("r", s.Device)}}
	case Capability:
		return [][]scope.Scope{{"r:devices:*", scope.Scope("r:devices:*:" + s.Capability)}}
	case DeviceLifecycle, DeviceHealth:
		var needs [][]scope.Scope
		for _, d := range s.Devices() {
			needs = append(needs, []scope.Scope{scope.Device("r", d)})
		}
		if needs == nil { // of all that it may read: each event is checked
			needs = append(needs, []scope.Scope{"r:devices:$"})
		}
		return needs
	case SecurityArmState:
		return [][]scope.Scope{{scope.ArmState("r", s.Location)}}
	case HubHealth:
		return [][]scope.Scope{{"r:hubs"}}
	case SceneLifecycle:
		return [][]scope.Scope{{"r:scenes:*"}}
	default:
		return [][]scope.Scope{{scope.Location("r", s.Location)}}
	}
}

// Same is the combination of match fields that must be unique in an installed app
// (reference 1.6): everything but the name.
type Same struct {
	location id.Location
	device   id.Device
	filter   Filter
}

// Same returns the subscription's combination of match fields.
func (s *Subscription) Same() Same {
	f := *s.Filter
	f.modes, f.devices = f.modes.sorted(), f.devices.sorted()
	return Same{s.Location, s.Device, f}
}
