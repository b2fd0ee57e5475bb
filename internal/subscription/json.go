package subscription

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"hark/internal/capability"
	"hark/internal/id"
	"hark/internal/problem"
)

// namePattern is what a component id or subscription name may be (reference 1.3).
var namePattern = regexp.MustCompile(`^[-_!.~'()*0-9a-zA-Z]{1,36}$`)

// maxValue is the longest value that a subscription may name, as JSON text.
const maxValue = 256

// maxDevices is how many devices a DEVICE_LIFECYCLE or DEVICE_HEALTH subscription may list.
const maxDevices = 20

// detail is the object named after the source type, with the fields of every type.
type detail struct {
	DeviceID         string          `json:"deviceId"`
	DeviceIDs        []string        `json:"deviceIds"`
	LocationID       string          `json:"locationId"`
	ComponentID      *string         `json:"componentId"`
	Capability       *string         `json:"capability"`
	Attribute        *string         `json:"attribute"`
	Value            json.RawMessage `json:"value"`
	StateChangeOnly  json.RawMessage `json:"stateChangeOnly"`
	SubscriptionName string          `json:"subscriptionName"`
	Modes            []string        `json:"modes"`
}

// ParseRequest reads the body of a create (reference 1.3) with all defaults filled in. The
// result has no id, installed app or From; its Location is the zero id where the request
// names none.
func ParseRequest(body []byte) (*Subscription, error) {
	var r struct {
		SourceType SourceType `json:"sourceType"`
		// SubscriptionName beside sourceType is in the platform's own documentation, which
		// then ignores it. hark takes it when the detail has none (reference 1.3).
		SubscriptionName string `json:"subscriptionName"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, unreadable(err)
	}
	key := r.SourceType.key()
	if key == "" {
		code, is := "PatternError", fmt.Sprintf("%.60q is not", r.SourceType)
		if r.SourceType == "" {
			code, is = "NotNullError", "is missing; it is"
		}
		return nil, problem.Field("sourceType", code, "%s one of %s", is, strings.Join(sourceNames(), ", "))
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, unreadable(err)
	}
	var d *detail
	if raw := members[key]; raw != nil {
		if err := json.Unmarshal(raw, &d); err != nil {
			return nil, unreadable(err)
		}
	}
	if d == nil {
		return nil, problem.Field(key, "NotNullError", "is missing; a %s subscription has its details there", r.SourceType)
	}
	if d.SubscriptionName == "" {
		d.SubscriptionName = r.SubscriptionName
	}
	return d.subscription(r.SourceType, key)
}

func unreadable(err error) error {
	return problem.New(problem.Invalid, "The subscription cannot be read: %v.", err)
}

// key returns the member that holds the details of a source type, "" for one that no request
// can name.
func (t SourceType) key() string {
	for i := range sources {
		if sources[i].source == t {
			return sources[i].key
		}
	}
	return ""
}

func sourceNames() []string {
	var names []string
	for _, s := range sources {
		names = append(names, string(s.source))
	}
	return names
}

func (d *detail) subscription(source SourceType, key string) (*Subscription, error) {
	s := &Subscription{Filter: &Filter{Source: source, Component: Any, Capability: Any, Attribute: Any}}
	if s.setName(d.SubscriptionName); d.SubscriptionName != "" && !namePattern.MatchString(d.SubscriptionName) {
		return nil, problem.Field(key+".subscriptionName", "PatternError", "%.60q does not match %s", d.SubscriptionName, namePattern)
	}
	var err error
	switch source {
	case Device:
		if s.Device, err = parseID[id.Device](key+".deviceId", d.DeviceID); err != nil {
			return nil, err
		}
		return s, d.filters(s, key)
	case DeviceLifecycle, DeviceHealth:
		if d.LocationID != "" {
			if s.Location, err = parseID[id.Location](key+".locationId", d.LocationID); err != nil {
				return nil, err
			}
		}
		devices, err := parseIDs[id.Device](key+".deviceIds", d.DeviceIDs)
		if err == nil && len(devices) > maxDevices {
			err = problem.Field(key+".deviceIds", "SizeError", "has %d devices, the maximum is %d; without deviceIds the subscription is for every device of the location", len(devices), maxDevices)
		}
		s.devices = pack(devices)
		return s, err
	}
	if s.Location, err = parseID[id.Location](key+".locationId", d.LocationID); err != nil {
		return nil, err
	}
	if source == Capability {
		err = d.filters(s, key)
	}
	return s, err
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
	modes, err := parseIDs[id.Mode](key+".modes", d.Modes)
	s.modes = pack(modes)
	return err
}

func orAny(s *string) string {
	if s == nil || *s == "" {
		return Any
	}
	return *s
}

func parseID[I ~[16]byte](target, text string) (I, error) {
	if text == "" {
		var zero I
		return zero, problem.Field(target, "NotEmptyError", "is missing")
	}
	v, err := id.Parse[I](text)
	if err != nil {
		return v, problem.Field(target, "PatternError", "%v", err)
	}
	return v, nil
}

func parseIDs[I ~[16]byte](target string, texts []string) ([]I, error) {
	var ids []I
	for i, text := range texts {
		v, err := parseID[I](fmt.Sprintf("%s[%d]", target, i), text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, v)
	}
	return ids, nil
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

type echoDevices struct {
	DeviceIDs        []id.Device `json:"deviceIds"`
	SubscriptionName string      `json:"subscriptionName,omitempty"`
	LocationID       id.Location `json:"locationId"`
}

type echoLocation struct {
	LocationID       id.Location `json:"locationId"`
	SubscriptionName string      `json:"subscriptionName,omitempty"`
}

// detail returns the answer's form of the details (reference 1.4).
func (s *Subscription) detail() any {
	f := echoFilters{s.Capability, s.Attribute, s.Value, s.StateChangeOnly, s.Name(), s.Modes()}
	if f.Value == "" {
		f.Value = `"*"`
	}
	switch s.Source {
	case Device:
		return echoDevice{s.Device, s.Component, f}
	case Capability:
		return echoCapability{s.Location, f}
	case DeviceLifecycle, DeviceHealth:
		return echoDevices{s.Devices(), s.Name(), s.Location}
	}
	return echoLocation{s.Location, s.Name()}
}

// MarshalJSON writes the API's echo (reference 1.4).
func (s *Subscription) MarshalJSON() ([]byte, error) {
	detail, err := json.Marshal(s.detail())
	if err != nil {
		return nil, err
	}
	var app id.InstalledApp
	if s.App != nil {
		app = *s.App
	}
	return fmt.Appendf(nil, `{"id":%q,"installedAppId":%q,"sourceType":%q,%q:%s}`, s.ID, app, s.Source, s.Source.key(), detail), nil
}
