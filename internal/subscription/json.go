package subscription

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"unique"

	"hark/internal/capability"
	"hark/internal/id"
	"hark/internal/problem"
)

// namePattern is what a component id or subscription name may be (reference 1.3).
var namePattern = regexp.MustCompile(`^[-_!.~'()*0-9a-zA-Z]{1,36}$`)

// maxValue is the longest value that a subscription may name, as JSON text.
const maxValue = 256

// detail is the object named after the source type, with the fields of every type.
type detail struct {
	DeviceID         string          `json:"deviceId"`
	LocationID       string          `json:"locationId"`
	ComponentID      *string         `json:"componentId"`
	Capability       *string         `json:"capability"`
	Attribute        *string         `json:"attribute"`
	Value            json.RawMessage `json:"value"`
	StateChangeOnly  json.RawMessage `json:"stateChangeOnly"`
	SubscriptionName string          `json:"subscriptionName"`
	Modes            []string        `json:"modes"`
}

type request struct {
	SourceType SourceType `json:"sourceType"`
	Device     *detail    `json:"device"`
	Capability *detail    `json:"capability"`
	Mode       *detail    `json:"mode"`
	// SubscriptionName beside sourceType is in the platform's own documentation, which
	// then ignores it. hark takes it when the detail has none (reference 1.3).
	SubscriptionName string `json:"subscriptionName"`
}

// known are the platform's source types that hark does not deliver yet.
var known = map[SourceType]bool{"DEVICE_LIFECYCLE": true, "DEVICE_HEALTH": true, "SECURITY_ARM_STATE": true, "HUB_HEALTH": true, "SCENE_LIFECYCLE": true}

// ParseRequest reads the body of a create (reference 1.3) with all defaults filled in. The
// result has no id, installed app or From; its Location is the zero id for a DEVICE.
func ParseRequest(body []byte) (*Subscription, error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, problem.New(problem.Invalid, "The subscription cannot be read: %v.", err)
	}
	var d *detail
	key := ""
	switch r.SourceType {
	case Device:
		d, key = r.Device, "device"
	case Capability:
		d, key = r.Capability, "capability"
	case Mode:
		d, key = r.Mode, "mode"
	case "":
		return nil, problem.Field("sourceType", "NotNullError", "is missing; it is one of DEVICE, CAPABILITY, MODE")
	default:
		if known[r.SourceType] {
			return nil, problem.New(problem.Unsupported, "This version of hark does not deliver %s events yet, so it refuses the subscription rather than keep silent later.", r.SourceType).
				At("sourceType").Coded("UnsupportedOperationError")
		}
		return nil, problem.Field("sourceType", "PatternError", "%.60q is not one of DEVICE, CAPABILITY, MODE", r.SourceType)
	}
	if d == nil {
		return nil, problem.Field(key, "NotNullError", "is missing; a %s subscription has its details there", r.SourceType)
	}
	if d.SubscriptionName == "" {
		d.SubscriptionName = r.SubscriptionName
	}
	return d.subscription(r.SourceType, key)
}

func (d *detail) subscription(source SourceType, key string) (*Subscription, error) {
	s := &Subscription{Source: source, Component: Any, Name: d.SubscriptionName}
	if s.Name != "" && !namePattern.MatchString(s.Name) {
		return nil, problem.Field(key+".subscriptionName", "PatternError", "%.60q does not match %s", s.Name, namePattern)
	}
	var err error
	if source == Device {
		if s.Device, err = parseID[id.Device](key+".deviceId", d.DeviceID); err != nil {
			return nil, err
		}
	} else if s.Location, err = parseID[id.Location](key+".locationId", d.LocationID); err != nil {
		return nil, err
	}
	if source == Mode {
		s.Capability, s.Attribute = Any, Any
		return s, nil
	}
	return s, d.filters(s, key)
}

// filters reads what DEVICE and CAPABILITY have in common.
func (d *detail) filters(s *Subscription, key string) error {
	if s.Source == Device && d.ComponentID != nil && *d.ComponentID != "" {
		if s.Component = *d.ComponentID; !namePattern.MatchString(s.Component) {
			return problem.Field(key+".componentId", "PatternError", "%.60q does not match %s", s.Component, namePattern)
		}
	}
	s.Capability, s.Attribute = orAny(d.Capability), orAny(d.Attribute)
	if s.Source == Capability && s.Capability == Any {
		return problem.Field(key+".capability", "NotEmptyError", "is missing or \"*\"; a CAPABILITY subscription names one capability")
	}
	if len(s.Capability) > 128 {
		return problem.Field(key+".capability", "SizeError", "has %d characters, the maximum is 128", len(s.Capability))
	}
	if len(s.Attribute) > 256 {
		return problem.Field(key+".attribute", "SizeError", "has %d characters, the maximum is 256", len(s.Attribute))
	}
	var err error
	if s.Value, err = parseValue(d.Value); err != nil {
		return problem.Field(key+".value", "SizeError", "%v", err)
	}
	if s.StateChangeOnly, err = parseFlag(d.StateChangeOnly); err != nil {
		return problem.Field(key+".stateChangeOnly", "PatternError", "%v", err)
	}
	for i, text := range d.Modes {
		m, err := parseID[id.Mode](fmt.Sprintf("%s.modes[%d]", key, i), text)
		if err != nil {
			return err
		}
		s.Modes = append(s.Modes, m)
	}
	return nil
}

func parseID[I ~[16]byte](target, text string) (I, error) {
	var zero I
	if text == "" {
		return zero, problem.Field(target, "NotEmptyError", "is missing")
	}
	v, err := id.Parse[I](text)
	if err != nil {
		return zero, problem.Field(target, "PatternError", "%v", err)
	}
	return v, nil
}

func orAny(s *string) string {
	if s == nil || *s == "" {
		return Any
	}
	return *s
}

// parseValue returns "" for a wildcard: an absent value, null or "*".
func parseValue(raw json.RawMessage) (capability.Value, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	v, err := capability.ParseValue(raw)
	if err != nil {
		return "", err
	}
	if v == `"*"` {
		return "", nil
	}
	if len(v) > maxValue {
		return "", fmt.Errorf("has %d characters of JSON, the maximum is %d", len(v), maxValue)
	}
	return v, nil
}

// parseFlag reads a boolean that defaults to true; clients also send it as a string.
func parseFlag(raw json.RawMessage) (bool, error) {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "true", `"true"`:
		return true, nil
	case "false", `"false"`:
		return false, nil
	}
	return false, fmt.Errorf("%.40s is not true or false", raw)
}

// echo is the answer's form of a subscription (reference 1.4).
type echo struct {
	ID           id.Subscription `json:"id"`
	InstalledApp id.InstalledApp `json:"installedAppId"`
	Source       SourceType      `json:"sourceType"`
	Device       *echoDevice     `json:"device,omitempty"`
	Capability   *echoCapability `json:"capability,omitempty"`
	Mode         *echoMode       `json:"mode,omitempty"`
}

type echoFilters struct {
	Capability       string           `json:"capability"`
	Attribute        string           `json:"attribute"`
	Value            capability.Value `json:"value"`
	StateChangeOnly  bool             `json:"stateChangeOnly"`
	SubscriptionName string           `json:"subscriptionName,omitempty"`
	Modes            []id.Mode        `json:"modes"`
}

type echoDevice struct {
	DeviceID    id.Device `json:"deviceId"`
	ComponentID string    `json:"componentId"`
	echoFilters
}

type echoCapability struct {
	LocationID id.Location `json:"locationId"`
	echoFilters
}

type echoMode struct {
	LocationID       id.Location `json:"locationId"`
	SubscriptionName string      `json:"subscriptionName,omitempty"`
}

func (s *Subscription) echo() echo {
	f := echoFilters{s.Capability, s.Attribute, s.Value, s.StateChangeOnly, s.Name, s.Modes}
	if f.Value == "" {
		f.Value = `"*"`
	}
	if f.Modes == nil {
		f.Modes = []id.Mode{}
	}
	e := echo{ID: s.ID, InstalledApp: s.InstalledApp, Source: s.Source}
	switch s.Source {
	case Device:
		e.Device = &echoDevice{s.Device, s.Component, f}
	case Capability:
		e.Capability = &echoCapability{s.Location, f}
	case Mode:
		e.Mode = &echoMode{s.Location, s.Name}
	}
	return e
}

// MarshalJSON writes the API's echo.
func (s *Subscription) MarshalJSON() ([]byte, error) { return json.Marshal(s.echo()) }

// record is what is kept, flat: a million of them are read at a start.
type record struct {
	ID           id.Subscription  `json:"id"`
	InstalledApp id.InstalledApp  `json:"app"`
	Source       SourceType       `json:"source"`
	Location     id.Location      `json:"location"`
	Device       id.Device        `json:"device,omitzero"`
	Component    string           `json:"component"`
	Capability   string           `json:"capability"`
	Attribute    string           `json:"attribute"`
	Value        capability.Value `json:"value,omitzero"`
	ChangesOnly  bool             `json:"changesOnly"`
	Modes        []id.Mode        `json:"modes,omitempty"`
	Name         string           `json:"name,omitempty"`
	From         uint64           `json:"from"`
	Until        uint64           `json:"until,omitempty"`
}

// Record returns the form to keep.
func (s *Subscription) Record() any {
	return record{s.ID, s.InstalledApp, s.Source, s.Location, s.Device, s.Component, s.Capability, s.Attribute, s.Value, s.StateChangeOnly, s.Modes, s.Name, s.From, s.Until}
}

// FromRecord reads what Record returned, marshalled.
func FromRecord(data []byte) (*Subscription, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read subscription record: %w", err)
	}
	if r.ID.IsZero() || r.InstalledApp.IsZero() || r.Source != Device && r.Source != Capability && r.Source != Mode {
		return nil, fmt.Errorf("read subscription record %s: it lacks an id, an installed app or a source type", r.ID)
	}
	return &Subscription{
		ID: r.ID, InstalledApp: r.InstalledApp, Source: r.Source, Location: r.Location, Device: r.Device, Component: unique.Make(r.Component).Value(),
		Capability: unique.Make(r.Capability).Value(), Attribute: unique.Make(r.Attribute).Value(), Value: r.Value, StateChangeOnly: r.ChangesOnly,
		Modes: r.Modes, Name: r.Name, From: r.From, Until: r.Until,
	}, nil
}
