package capability

import (
	"maps"
	"slices"
)

// Change is a new value for an attribute of the same component.
type Change struct {
	Capability string
	Attribute  string
	Value      Value
	Unit       string
}

// momentary are the attributes whose every report is a change: a button pushed twice was
// pushed twice (reference 1.11, point 4).
var momentary = map[[2]string]bool{
	{"button", "button"}:                true,
	{"lockCodes", "codeChanged"}:        true,
	{"soundDetection", "soundDetected"}: true,
}

// Momentary reports whether every report of the attribute is a state change, also one that
// repeats the value.
func Momentary(capability, attribute string) bool {
	return momentary[[2]string{capability, attribute}]
}

// steps are commands that move a percentage up or down by so much.
var steps = map[[2]string]struct {
	attribute string
	by        float64
}{
	{"audioVolume", "volumeUp"}:   {"volume", 5},
	{"audioVolume", "volumeDown"}: {"volume", -5},
	{"tvChannel", "channelUp"}:    {"tvChannel", 1},
	{"tvChannel", "channelDown"}:  {"tvChannel", -1},
}

// Execute returns what a checked command changes on a virtual device: by the definition's
// setters and enum commands, and the few things that definitions do not say. State returns
// the present value of an attribute of the component, "" when it has none; has reports
// whether the component has a capability.
func (c *Capability) Execute(command string, args []Value, state func(capability, attribute string) Value, has func(capability string) bool) []Change {
	var changes []Change
	set := func(capability, attribute string, v Value, unit string) {
		changes = append(changes, Change{capability, attribute, v, unit})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) { // equal commands, equal events in equal order
		a := c.Attributes[name]
		if a.Setter == command && len(args) > 0 && args[0] != "" {
			if c.CheckValue(name, args[0], "") == nil {
				set(c.ID, name, args[0], c.Unit(name))
			}
			continue
		}
		for _, e := range a.EnumCommands {
			if e.Command == command {
				set(c.ID, name, e.Value, c.Unit(name))
			}
		}
	}
	if s, ok := steps[[2]string{c.ID, command}]; ok {
		if now, ok := state(c.ID, s.attribute).decoded().(float64); ok {
			set(c.ID, s.attribute, Number(min(max(now+s.by, 0), 100)), c.Unit(s.attribute))
		}
	}
	switch {
	case c.ID == "switchLevel" && command == "setLevel" && has("switch"):
		on := String("on")
		if len(args) > 0 && args[0] == "0" {
			on = String("off")
		}
		set("switch", "switch", on, "")
	case c.ID == "colorControl" && command == "setColor" && len(args) > 0:
		color, _ := args[0].decoded().(map[string]any)
		for _, part := range []string{"hue", "saturation"} {
			if v, err := ValueOf(color[part]); err == nil && v.Type() == "number" {
				set(c.ID, part, v, "")
			}
		}
	case c.ID == "momentary" && command == "push" && has("button"):
		set("button", "button", String("pushed"), "")
	}
	return changes
}
