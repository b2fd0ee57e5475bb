package subscription

import (
	"fmt"
	"strings"

	"hark/internal/event"
)

// Explain returns the first condition that the event fails, in words with the values on both
// sides, and "" when it matches. It asks [Subscription.Matches], so it cannot differ from
// what is delivered.
func (s *Subscription) Explain(e *event.Event) string {
	mismatch := s.Matches(e)
	differs := func(want, got string) string {
		return fmt.Sprintf("%s: the subscription wants %s, the event has %s", mismatch, want, got)
	}
	switch mismatch {
	case Matches:
		return ""
	case OtherSource:
		if e.Device != nil && s.Source == Device && s.Device != e.Device.Device {
			return differs("the device "+s.Device.String(), "the device "+e.Device.Device.String())
		}
		return differs(fmt.Sprintf("%s of the location %s", s.Source, s.Location), fmt.Sprintf("%s of the location %s", e.Type, e.Location))
	case OtherDevice:
		return differs(fmt.Sprint(s.Devices()), e.About().String())
	case OtherCapability:
		return differs(s.Capability, e.Device.Capability)
	case OtherComponent:
		return differs(s.Component, e.Device.Component)
	case OtherAttribute:
		return differs(s.Attribute, e.Device.Attribute)
	case OtherValue:
		hint := ""
		if s.Value.Type() != e.Device.Value.Type() {
			hint = fmt.Sprintf(" (a %s is no %s)", s.Value.Type(), e.Device.Value.Type())
		}
		return differs(string(s.Value), string(e.Device.Value)) + hint
	case NotAStateChange:
		return fmt.Sprintf("%s; it was %s before and after. Subscribe with stateChangeOnly false to get repeats", mismatch, e.Device.Value)
	case ModeNotActive:
		var modes []string
		for _, m := range s.Modes() {
			modes = append(modes, m.String())
		}
		return differs("one of the modes "+strings.Join(modes, ", "), "the mode "+e.Mode.String())
	case NotYetSubscribed:
		return differs(fmt.Sprintf("events after position %d", s.From), fmt.Sprintf("position %d", e.Seq))
	case NoLongerSubscribed:
		return differs(fmt.Sprintf("events up to position %d", s.Until), fmt.Sprintf("position %d", e.Seq))
	}
	return string(mismatch)
}
