package home

import (
	"maps"
	"slices"

	"hark/internal/capability"
)

// Prototype is a standard kind of virtual device (reference 7.2).
type Prototype struct {
	Category string
	// Initial lists the capabilities in order, each with the values that a new device
	// reports at first.
	Initial []InitialState
}

// InitialState is a capability with its first values by attribute.
type InitialState struct {
	Capability string
	Values     map[string]any
	Unit       string
}

// DefaultPrototype is made when a request names none: some versions of the official client
// lose the name on its way (client requirements, "Faults of the clients").
const DefaultPrototype = "VIRTUAL_SWITCH"

func has(capability string, values ...any) InitialState {
	s := InitialState{Capability: capability, Values: map[string]any{}}
	for i := 0; i+1 < len(values); i += 2 {
		s.Values[values[i].(string)] = values[i+1]
	}
	return s
}

func (s InitialState) in(unit string) InitialState {
	s.Unit = unit
	return s
}

var (
	switchedOff = has("switch", "switch", "off")
	full        = has("battery", "battery", 100).in("%")
	warm        = has("temperatureMeasurement", "temperature", 21).in("C")
	bright      = has("switchLevel", "level", 100).in("%")
	white       = has("colorTemperature", "colorTemperature", 3000).in("K")
	coloured    = has("colorControl", "hue", 0, "saturation", 0)
	still       = has("motionSensor", "motion", "inactive")
	shut        = has("contactSensor", "contact", "closed")
	dry         = has("waterSensor", "water", "dry")
	calm        = has("accelerationSensor", "acceleration", "inactive")
)

var prototypes = map[string]Prototype{
	"VIRTUAL_SWITCH":             {"Switch", []InitialState{switchedOff}},
	"VIRTUAL_DIMMER_SWITCH":      {"Light", []InitialState{switchedOff, bright}},
	"VIRTUAL_DIMMER":             {"Light", []InitialState{bright}},
	"VIRTUAL_BUTTON":             {"RemoteController", []InitialState{has("button", "numberOfButtons", 1, "supportedButtonValues", []any{"pushed", "held", "double"}), full}},
	"VIRTUAL_CAMERA":             {"Camera", []InitialState{switchedOff, has("videoCamera"), still}},
	"VIRTUAL_COLOR_BULB":         {"Light", []InitialState{switchedOff, bright, coloured}},
	"VIRTUAL_CONTACT_SENSOR":     {"ContactSensor", []InitialState{shut, full}},
	"VIRTUAL_GARAGE_DOOR_OPENER": {"GarageDoor", []InitialState{has("doorControl", "door", "closed"), shut}},
	"VIRTUAL_LOCK":               {"SmartLock", []InitialState{has("lock", "lock", "locked"), full}},
	"VIRTUAL_METERED_SWITCH":     {"SmartPlug", []InitialState{switchedOff, has("powerMeter", "power", 0).in("W"), has("energyMeter", "energy", 0).in("kWh")}},
	"VIRTUAL_MOTION_SENSOR":      {"MotionSensor", []InitialState{still, full}},
	"VIRTUAL_MULTI_SENSOR":       {"MultiFunctionalSensor", []InitialState{shut, warm, calm, has("threeAxis", "threeAxis", []any{0, 0, 1000}).in("mG"), full}},
	"VIRTUAL_PRESENCE_SENSOR":    {"PresenceSensor", []InitialState{has("presenceSensor", "presence", "present")}},
	"VIRTUAL_REFRIGERATOR":       {"Refrigerator", []InitialState{shut, warm, has("thermostatCoolingSetpoint", "coolingSetpoint", 4).in("C")}},
	"VIRTUAL_RGBW_BULB":          {"Light", []InitialState{switchedOff, bright, coloured, white}},
	"VIRTUAL_SIREN":              {"Siren", []InitialState{has("alarm", "alarm", "off"), full}},
	"VIRTUAL_SMOKE_DETECTOR":     {"SmokeDetector", []InitialState{has("smokeDetector", "smoke", "clear"), full}},
	"VIRTUAL_WATER_SENSOR":       {"LeakSensor", []InitialState{dry, warm, full}},
	"VIRTUAL_HUB":                {"Hub", []InitialState{has("healthCheck")}},
	"VIRTUAL_ILLUMINANCE_SENSOR": {"LightSensor", []InitialState{has("illuminanceMeasurement", "illuminance", 100).in("lux"), full}},
	"VIRTUAL_TEMPERATURE_SENSOR": {"TempSensor", []InitialState{warm, has("relativeHumidityMeasurement", "humidity", 45).in("%"), full}},
	"VIRTUAL_THERMOSTAT": {"Thermostat", []InitialState{warm,
		has("thermostatHeatingSetpoint", "heatingSetpoint", 20).in("C"), has("thermostatCoolingSetpoint", "coolingSetpoint", 26).in("C"),
		has("thermostatMode", "thermostatMode", "off", "supportedThermostatModes", []any{"off", "heat", "cool", "auto"}),
		has("thermostatOperatingState", "thermostatOperatingState", "idle"),
		has("thermostatFanMode", "thermostatFanMode", "auto", "supportedThermostatFanModes", []any{"auto", "on", "circulate"})}},
}

// PrototypeNames returns the names of the standard kinds, sorted.
func PrototypeNames() []string { return slices.Sorted(maps.Keys(prototypes)) }

// FindPrototype returns the standard kind with the name, and whether there is one.
func FindPrototype(name string) (Prototype, bool) {
	p, ok := prototypes[name]
	return p, ok
}

// Type returns the type of devices of this kind.
func (p Prototype) Type() string {
	if p.Category == "Hub" {
		return Hub
	}
	return Virtual
}

// Components returns the component "main" that devices of this kind have.
func (p Prototype) Components() []Component {
	main := Component{ID: "main", Label: "main", Categories: []Category{{Name: p.Category, Type: "manufacturer"}}}
	for _, s := range p.Initial {
		main.Capabilities = append(main.Capabilities, CapabilityRef{s.Capability, 1})
	}
	return []Component{main}
}

// State returns what a new device of this kind reports at first, without times.
func (p Prototype) State() []Attribute {
	var state []Attribute
	for _, s := range p.Initial {
		for _, name := range slices.Sorted(maps.Keys(s.Values)) {
			v, err := capability.ValueOf(s.Values[name])
			if err != nil {
				panic("home: prototype: " + err.Error()) // the table above is tested
			}
			unit := s.Unit
			if v.Type() != "number" && v.Type() != "array" {
				unit = ""
			}
			state = append(state, Attribute{Component: "main", Capability: s.Capability, Attribute: name, Value: v, Unit: unit})
		}
	}
	return state
}
