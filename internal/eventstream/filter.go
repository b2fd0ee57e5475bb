// Package eventstream is the model of event streams, which the platform calls subscriptions
// too (reference 2): what a stream lets through, and the hub that hands live events to open
// streams. It writes to no connection and reads no journal.
package eventstream

import (
	"encoding/json"
	"slices"
	"time"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/scope"
)

// Registration is a stream as its maker described it. It is never changed.
type Registration struct {
	ID             id.Stream       `json:"subscriptionId"`
	Name           string          `json:"name"`
	Version        int             `json:"version"`
	ClientDeviceID string          `json:"clientDeviceId,omitempty"`
	Filters        []Filter        `json:"subscriptionFilters"`
	InstalledApp   id.InstalledApp `json:"installedAppId,omitzero"` // whose it is; zero is a person's
	Account        id.Account      `json:"accountId,omitzero"`      // whose, if a person's; zero is the server's owner
	Created        time.Time       `json:"created"`
}

// Filter lets an event through when every part of it does; a part that is null or empty lets
// everything through.
type Filter struct {
	Type       string   `json:"type"` // what Value lists; see the constants
	Value      []string `json:"value"`
	EventType  []string `json:"eventType"`
	Attribute  []string `json:"attribute"`
	Capability []string `json:"capability"`
	Component  []string `json:"component"`
}

// The types of filter. A filter of another type, which clients send too, lets nothing through.
const (
	LocationIDs     = "LOCATIONIDS" // the value "ALL" is every location
	DeviceIDs       = "DEVICEIDS"
	InstalledAppIDs = "INSTALLEDSMARTAPPIDS" // what concerns these installed apps
	AppIDs          = "SMARTAPPIDS"          // what concerns installed apps of these
)

const all = "ALL"

// Matches reports whether one of the filters lets the event through; no filter at all lets
// everything through.
func (r *Registration) Matches(e *event.Event) bool {
	if e.Commands != nil {
		return false // they are for the device's app alone
	}
	if e.Lifecycle != nil && (e.Lifecycle.Kind == event.MoveFrom || e.Lifecycle.Kind == event.MoveTo) {
		return false // the official integrations fail at a device that moves between locations (reference 2.6)
	}
	if len(r.Filters) == 0 {
		return true
	}
	for i := range r.Filters {
		if r.Filters[i].matches(e) {
			return true
		}
	}
	return false
}

func (f *Filter) matches(e *event.Event) bool {
	switch f.Type {
	case LocationIDs:
		if !slices.Contains(f.Value, all) && !slices.Contains(f.Value, e.Location.String()) {
			return false
		}
	case DeviceIDs:
		if device := e.About(); device.IsZero() || !slices.Contains(f.Value, device.String()) {
			return false
		}
	case InstalledAppIDs:
		if e.InstalledApp.IsZero() || !slices.Contains(f.Value, e.InstalledApp.String()) {
			return false
		}
	case AppIDs:
		if e.App == nil || !slices.Contains(f.Value, e.App.App.String()) {
			return false
		}
	default:
		return false
	}
	if !passes(f.EventType, string(e.Type)) {
		return false
	}
	if e.Device == nil {
		return len(f.Attribute)+len(f.Capability)+len(f.Component) == 0
	}
	return passes(f.Attribute, e.Device.Attribute) && passes(f.Capability, e.Device.Capability) && passes(f.Component, e.Device.Component)
}

func passes(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }

// normalise writes ids in the one form in which they are compared.
func (r *Registration) normalise() {
	for i := range r.Filters {
		f := &r.Filters[i]
		for j, v := range f.Value {
			if u, err := id.Parse[id.Device](v); err == nil { // every id has this form
				f.Value[j] = u.String()
			}
		}
	}
}

// typeNeeds says which scopes an event type that a filter names asks for: of any one device,
// location and so on. What a stream shows is checked again at each event.
var typeNeeds = map[string]scope.Scope{
	string(event.DeviceEvent): "r:devices:$", string(event.DeviceLifecycleEvent): "r:devices:$", string(event.DeviceHealthEvent): "r:devices:$",
	string(event.ModeEvent): "r:locations:$", string(event.SecurityArmStateEvent): "r:security:locations:$:armstate",
	string(event.HubHealthEvent): "r:hubs:$", string(event.SceneLifecycleEvent): "r:scenes:$",
}

// Needs returns the scopes that the filters ask for by name (reference 2.2): of each list, one
// must be held to make the stream.
func (r *Registration) Needs() [][]scope.Scope {
	var needs [][]scope.Scope
	for _, f := range r.Filters {
		for _, t := range f.EventType {
			if need, ok := typeNeeds[t]; ok {
				needs = append(needs, []scope.Scope{need})
			}
		}
		for _, v := range f.Value {
			u, err := id.Parse[id.Device](v)
			switch {
			case err != nil:
			case f.Type == LocationIDs && len(f.EventType) == 0:
				needs = append(needs, []scope.Scope{"r:devices:$", scope.Location("r", id.Location(u))})
			case f.Type == DeviceIDs:
				needs = append(needs, []scope.Scope{scope.Device("r", u)})
			}
		}
	}
	return needs
}

// places returns the locations whose events the stream can show, and false when those are all.
func (r *Registration) places(p scope.Principal) ([]id.Location, bool) {
	if p.IsApp() { // it sees its own alone
		return []id.Location{p.Location}, true
	}
	var places []id.Location
	for _, f := range r.Filters {
		if f.Type != LocationIDs {
			return nil, false
		}
		for _, v := range f.Value {
			at, err := id.Parse[id.Location](v)
			if err != nil {
				return nil, false
			}
			if !slices.Contains(places, at) {
				places = append(places, at)
			}
		}
	}
	return places, len(r.Filters) > 0
}

// BelongsTo reports whether the principal made the stream, by this token or another.
func (r *Registration) BelongsTo(p scope.Principal) bool {
	return r.InstalledApp == p.InstalledApp && r.Account == p.Account
}

// NameJSON returns the name as events of the stream carry it.
func (r *Registration) NameJSON() []byte {
	name, err := json.Marshal(r.Name)
	if err != nil {
		panic("eventstream: " + err.Error()) // every string marshals
	}
	return name
}

// New returns a registration with a new id, owned by the principal.
func New(p scope.Principal, draft Registration) *Registration {
	r := draft
	r.ID, r.InstalledApp, r.Account, r.Created = id.New[id.Stream](), p.InstalledApp, p.Account, time.Now().UTC().Truncate(time.Millisecond)
	if r.Filters == nil {
		r.Filters = []Filter{}
	}
	r.normalise()
	return &r
}
