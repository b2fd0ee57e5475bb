package subscription

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hark/internal/capability"
	"hark/internal/event"
	"hark/internal/id"
)

// model says in its own words, straight from the reference (1.11), whether an event is for a
// subscription. It shares nothing with Matches.
func model(s *Subscription, e *event.Event) bool {
	if !(e.Seq > s.From && (s.Until == 0 || e.Seq <= s.Until)) || s.Location != e.Location {
		return false
	}
	switch s.Source {
	case Mode:
		return e.Type == event.ModeEvent
	case SecurityArmState:
		return e.Arm != nil
	case HubHealth:
		return e.Hub != nil
	case SceneLifecycle:
		return e.Scene != nil
	case DeviceLifecycle:
		return e.Lifecycle != nil && (len(s.Devices()) == 0 || slices.Contains(s.Devices(), e.Lifecycle.Device))
	case DeviceHealth:
		return e.Health != nil && (len(s.Devices()) == 0 || slices.Contains(s.Devices(), e.Health.Device))
	}
	if e.Type != event.DeviceEvent {
		return false
	}
	inMode := len(s.Modes()) == 0
	for _, m := range s.Modes() {
		if m == e.Mode {
			inMode = true
		}
	}
	value := s.Value == "" || s.Value == e.Device.Value
	if n := string(e.Device.Value); !value && e.Device.Value[0] != '"' && e.Device.Value[0] != '{' && e.Device.Value[0] != '[' {
		value = string(s.Value) == `"`+n+`"`
	}
	same := func(want, got string) bool { return want == "*" || want == got }
	ok := value && inMode && same(s.Capability, e.Device.Capability) && same(s.Attribute, e.Device.Attribute) && (e.Device.StateChange || !s.StateChangeOnly)
	if s.Source == Device {
		return ok && s.Device == e.Device.Device && same(s.Component, e.Device.Component)
	}
	return ok
}

func small[I ~[16]byte](t *rapid.T, name string, n int) I {
	return I{15: byte(rapid.IntRange(1, n).Draw(t, name))}
}

func text(t *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }

func randomSubscription(t *rapid.T) *Subscription {
	app := small[id.InstalledApp](t, "app", 3)
	f := &Filter{Source: rapid.SampledFrom(sources).Draw(t, "source").source, Component: Any, Capability: Any, Attribute: Any}
	s := &Subscription{
		ID: id.New[id.Subscription](), App: &app, Filter: f, Location: small[id.Location](t, "location", 2),
		From: rapid.Uint64Range(0, 20).Draw(t, "from"), Until: rapid.SampledFrom([]uint64{0, 0, 0, 10, 30}).Draw(t, "until"),
	}
	several := func(name string) (list []id.ID[int]) {
		for range rapid.IntRange(0, 2).Draw(t, name) {
			list = append(list, small[id.ID[int]](t, name, 3))
		}
		return list
	}
	switch s.Source {
	case DeviceLifecycle, DeviceHealth:
		f.devices = pack(several("devices"))
		return s
	case Device:
		s.Device = small[id.Device](t, "device", 3)
		f.Component = text(t, "component", Any, "main", "left")
		f.Capability = text(t, "capability", Any, "switch", "switchLevel")
	case Capability:
		f.Capability = text(t, "capability", "switch", "switchLevel")
	default:
		return s
	}
	f.Attribute = text(t, "attribute", Any, "switch", "level")
	f.Value = capability.Value(text(t, "value", "", "", `"on"`, "50", `"50"`, "true", `"true"`, `{"a":1}`))
	f.StateChangeOnly = rapid.Bool().Draw(t, "stateChangeOnly")
	f.modes = pack(several("modes"))
	return s
}

func randomEvent(t *rapid.T) *event.Event {
	e := &event.Event{Seq: rapid.Uint64Range(1, 40).Draw(t, "seq"), Type: event.DeviceEvent, Location: small[id.Location](t, "location", 2), Mode: small[id.Mode](t, "mode", 3)}
	device := small[id.Device](t, "device", 3)
	switch rapid.IntRange(0, 10).Draw(t, "kind") {
	case 0:
		e.Type = event.ModeEvent
	case 1:
		e.Type, e.Lifecycle = event.DeviceLifecycleEvent, &event.DeviceLifecycle{Device: device}
	case 2:
		e.Type, e.Health = event.DeviceHealthEvent, &event.DeviceHealth{Device: device}
	case 3:
		e.Type, e.Arm = event.SecurityArmStateEvent, &event.ArmState{}
	case 4:
		e.Type, e.Hub = event.HubHealthEvent, &event.HubHealth{Hub: device}
	case 5:
		e.Type, e.Scene = event.SceneLifecycleEvent, &event.SceneLifecycle{}
	default:
		e.Device = &event.Report{
			Device: device, Component: text(t, "component", "main", "left"), Capability: text(t, "capability", "switch", "switchLevel"),
			Attribute: text(t, "attribute", "switch", "level"), Value: capability.Value(text(t, "value", `"on"`, `"off"`, "50", "true", `{"a":1}`)),
			StateChange: rapid.Bool().Draw(t, "stateChange"),
		}
	}
	return e
}

// TestIndexAgainstModel adds and removes random subscriptions and holds every match against
// a loop over all of them.
func TestIndexAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		var all []*Subscription
		matched := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				s := randomSubscription(t)
				x.Add(s)
				all = append(all, s)
			},
			"remove": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				x.Remove(all[i])
				x.Remove(all[i]) // a second time is no fault
				all = slices.Delete(all, i, i+1)
			},
			"event": func(t *rapid.T) {
				e := randomEvent(t)
				want := map[*Subscription]bool{}
				for _, s := range all {
					if model(s, e) {
						want[s] = true
					}
				}
				got := x.Match(nil, e)
				x.MatchAll([]*event.Event{e, e}, func(_ *event.Event, again []*Subscription) {
					if !slices.Equal(got, again) {
						t.Fatalf("Match and MatchAll differ: %v, %v", got, again)
					}
				})
				for _, s := range got {
					if !want[s] {
						t.Fatalf("%+v matches %+v, the model says no", s, e)
					}
				}
				if len(got) != len(want) {
					t.Fatalf("%d match %+v, the model says %d", len(got), e, len(want))
				}
				matched += len(got)
			},
			"": func(t *rapid.T) {
				if x.Len() != len(all) {
					t.Fatalf("the index holds %d, want %d", x.Len(), len(all))
				}
			},
		})
	})
}

// TestIndexKeepsOrderAndGrows holds that subscriptions to one thing come back in the order in
// which they were made, however many others there are.
func TestIndexKeepsOrderAndGrows(t *testing.T) {
	t.Parallel()
	var x Index
	home := newHome()
	var want []*Subscription
	for i := range 5000 {
		x.Add(newHome().subscription(i))
		if i%100 == 0 {
			s := home.subscription(0)
			want = append(want, s)
			x.Add(s)
		}
	}
	if got := x.Match(nil, home.event(0)); !slices.Equal(got, want) {
		t.Errorf("%d subscriptions in another order than the %d that were made", len(got), len(want))
	}
	if len(x.filters) > len(shapes) {
		t.Errorf("%d filters are kept for %d different ones", len(x.filters), len(shapes))
	}
	for _, s := range want {
		x.Remove(s)
	}
	if got := x.Match(nil, home.event(0)); len(got) > 0 || x.Len() != 5000 {
		t.Errorf("%d are found that were removed; %d are left, want 5000", len(got), x.Len())
	}
}

// testHome is a home with ten devices and an installed app that listens to them.
type testHome struct {
	location id.Location
	app      *id.InstalledApp
	devices  [10]id.Device
}

func newHome() *testHome {
	h := &testHome{location: id.New[id.Location](), app: someApp()}
	for i := range h.devices {
		h.devices[i] = id.New[id.Device]()
	}
	return h
}

// shapes is what is asked of the ten devices: the last two are CAPABILITY subscriptions.
var shapes = [10]struct{ capability, attribute, name string }{
	{"switch", "switch", "lamp"}, {"switchLevel", "level", "level"}, {"contactSensor", "contact", "door"}, {"motionSensor", "motion", "motion"},
	{"lock", "lock", "lock"}, {"battery", "battery", "battery"}, {"temperatureMeasurement", "temperature", "temperature"}, {"presenceSensor", Any, "presence"},
	{"smokeDetector", "smoke", "smoke"}, {"waterSensor", "water", "water"},
}

func (h *testHome) subscription(i int) *Subscription {
	of := shapes[i%10]
	s := &Subscription{ID: id.New[id.Subscription](), App: h.app, Location: h.location, Device: h.devices[i%10],
		Filter: &Filter{Source: Device, Component: Any, Capability: of.capability, Attribute: of.attribute, StateChangeOnly: true}}
	if i%10 >= 8 {
		s.Source, s.Device = Capability, id.Device{}
	}
	s.setName(of.name)
	return s
}

func (h *testHome) event(i int) *event.Event {
	of := shapes[i%10]
	return &event.Event{Seq: 1, Type: event.DeviceEvent, Location: h.location, Device: &event.Report{
		Device: h.devices[i%10], Component: "main", Capability: of.capability, Attribute: of.attribute, Value: `"on"`, StateChange: true}}
}

// place is where an event of a benchmark happens.
type place struct {
	location id.Location
	device   id.Device
	of       int
}

// filled returns an index of homes with ten subscriptions each, and a sample of places of
// events, in no order of memory.
func filled(n int) (x *Index, places []place) {
	x = new(Index)
	homes := make([]*testHome, n/10)
	for i := range homes {
		homes[i] = newHome()
	}
	for _, i := range rand.Perm(n) { // as apps are installed over the years, not home by home
		x.Add(homes[i/10].subscription(i % 10))
	}
	for range 1 << 20 {
		i := rand.IntN(n)
		places = append(places, place{homes[i/10].location, homes[i/10].devices[i%10], i % 10})
	}
	return x, places
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sizes of the benchmarks; ten million need 3 GB while they are built.
var sizes = []int{10_000, 1_000_000, 10_000_000}

// BenchmarkMatch matches events of random devices, each of which one subscription wants: one by
// one, and a thousand at a time as a commit of the journal brings them.
func BenchmarkMatch(b *testing.B) {
	for _, n := range sizes {
		x, places := filled(n)
		var events []*event.Event
		for range 1000 {
			events = append(events, newHome().event(0))
		}
		next := 0
		happen := func(some []*event.Event) {
			for _, e := range some {
				p := &places[next&(len(places)-1)]
				next++
				e.Location, e.Device.Device, e.Device.Capability, e.Device.Attribute = p.location, p.device, shapes[p.of].capability, shapes[p.of].attribute
			}
		}
		b.Run(fmt.Sprint("one by one/", n), func(b *testing.B) {
			var matched []*Subscription
			for b.Loop() {
				happen(events[:1])
				if matched = x.Match(matched[:0], events[0]); len(matched) != 1 {
					b.Fatalf("%d match", len(matched))
				}
			}
		})
		b.Run(fmt.Sprint("a thousand/", n), func(b *testing.B) {
			for i := 0; i < b.N; i += len(events) {
				happen(events)
				x.MatchAll(events, func(_ *event.Event, matched []*Subscription) {
					if len(matched) != 1 {
						b.Fatalf("%d match", len(matched))
					}
				})
			}
		})
	}
}

// BenchmarkHeap reports the heap that a subscription in the index takes.
func BenchmarkHeap(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				x, _ := filled(n)
				b.ReportMetric(float64(heap()-before)/float64(n), "B/subscription")
				runtime.KeepAlive(x)
			}
		})
	}
}

// BenchmarkAddRemove adds a subscription to an index and takes it out again.
func BenchmarkAddRemove(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, _ := filled(n)
			fresh := make([]*Subscription, 1<<12)
			for i := range fresh {
				fresh[i] = newHome().subscription(i)
			}
			i := 0
			for b.Loop() {
				s := fresh[i&(len(fresh)-1)]
				x.Add(s)
				x.Remove(s)
				i++
			}
		})
	}
}
