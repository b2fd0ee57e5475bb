package subscription

import (
	"fmt"
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
	if s.Source == Mode {
		return e.Type == event.ModeEvent
	}
	if e.Type != event.DeviceEvent {
		return false
	}
	inMode := len(s.Modes) == 0
	for _, m := range s.Modes {
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
	s := &Subscription{
		ID: id.New[id.Subscription](), InstalledApp: small[id.InstalledApp](t, "app", 3), Source: rapid.SampledFrom([]SourceType{Device, Capability, Mode}).Draw(t, "source"),
		Location: small[id.Location](t, "location", 2), Component: Any, Capability: Any, Attribute: Any,
		From: rapid.Uint64Range(0, 20).Draw(t, "from"), Until: rapid.SampledFrom([]uint64{0, 0, 0, 10, 30}).Draw(t, "until"),
	}
	if s.Source == Mode {
		return s
	}
	s.Capability = text(t, "capability", "switch", "switchLevel")
	s.Attribute = text(t, "attribute", Any, "switch", "level")
	s.Value = capability.Value(text(t, "value", "", "", `"on"`, "50", `"50"`, "true", `"true"`, `{"a":1}`))
	s.StateChangeOnly = rapid.Bool().Draw(t, "stateChangeOnly")
	for range rapid.IntRange(0, 2).Draw(t, "modes") {
		s.Modes = append(s.Modes, small[id.Mode](t, "mode", 3))
	}
	if s.Source == Device {
		s.Device = small[id.Device](t, "device", 3)
		s.Component = text(t, "component", Any, "main", "left")
		s.Capability = text(t, "capability", Any, "switch", "switchLevel")
	}
	return s
}

func randomEvent(t *rapid.T) *event.Event {
	e := &event.Event{Seq: rapid.Uint64Range(1, 40).Draw(t, "seq"), Type: event.DeviceEvent, Location: small[id.Location](t, "location", 2), Mode: small[id.Mode](t, "mode", 3)}
	if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
		e.Type = event.ModeEvent
		return e
	}
	e.Device = &event.Report{
		Device: small[id.Device](t, "device", 3), Component: text(t, "component", "main", "left"), Capability: text(t, "capability", "switch", "switchLevel"),
		Attribute: text(t, "attribute", "switch", "level"), Value: capability.Value(text(t, "value", `"on"`, `"off"`, "50", "true", `{"a":1}`)),
		StateChange: rapid.Bool().Draw(t, "stateChange"),
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

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var x Index
			devices := make([]id.Device, n)
			for i := range devices {
				devices[i] = id.New[id.Device]()
				x.Add(&Subscription{Source: Device, Device: devices[i], Component: Any, Capability: "switch", Attribute: Any, StateChangeOnly: true})
			}
			e := &event.Event{Seq: 1, Type: event.DeviceEvent, Device: &event.Report{Component: "main", Capability: "switch", Attribute: "switch", Value: `"on"`, StateChange: true}}
			var found []*Subscription
			i := 0
			for b.Loop() {
				e.Device.Device = devices[(i*7919)%n]
				found = x.Match(found[:0], e)
				i++
			}
			if len(found) != 1 {
				b.Fatalf("%d found", len(found))
			}
		})
	}
}
