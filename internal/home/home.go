// Package home has the nouns of a home: locations with their modes and rooms, and devices
// with their components. It has no behaviour beyond reading and checking these.
package home

import (
	"time"

	"hark/internal/capability"
	"hark/internal/id"
)

// Location is a home: all that one event needs belongs to one location (reference 7.3).
type Location struct {
	ID               id.Location `json:"locationId"`
	Name             string      `json:"name"`
	CountryCode      string      `json:"countryCode"`
	Latitude         float64     `json:"latitude"`
	Longitude        float64     `json:"longitude"`
	RegionRadius     int         `json:"regionRadius"` // metres
	TemperatureScale string      `json:"temperatureScale"`
	TimeZoneID       string      `json:"timeZoneId"`
	Locale           string      `json:"locale"`
	BackgroundImage  string      `json:"backgroundImage,omitempty"`
	Created          time.Time   `json:"created"`
	LastModified     time.Time   `json:"lastModified"`
	Modes            []Mode      `json:"modes"`
	Rooms            []Room      `json:"rooms"`
	// Owner is the account whose home it is; zero is the server's owner.
	Owner id.Account `json:"owner,omitzero"`
}

// Mode is a state that a whole location is in, such as Home or Away (reference 7.4).
type Mode struct {
	ID    id.Mode `json:"id"`
	Label string  `json:"label"`
	Name  string  `json:"name"`
}

// Room is a part of a location (reference 7.5).
type Room struct {
	ID              id.Room     `json:"roomId"`
	Location        id.Location `json:"locationId"`
	Name            string      `json:"name"`
	BackgroundImage string      `json:"backgroundImage"`
}

// Mode returns the mode with the id, and whether the location has it.
func (l *Location) Mode(m id.Mode) (Mode, bool) {
	for _, mode := range l.Modes {
		if mode.ID == m {
			return mode, true
		}
	}
	return Mode{}, false
}

// Room returns the room with the id, and whether the location has it.
func (l *Location) Room(r id.Room) (Room, bool) {
	for _, room := range l.Rooms {
		if room.ID == r {
			return room, true
		}
	}
	return Room{}, false
}

// The types of device that hark makes (reference 7.1 lists those that clients know).
const (
	Virtual     = "VIRTUAL"      // executes its commands by itself
	EndpointApp = "ENDPOINT_APP" // belongs to an installed app, which executes its commands
	Hub         = "HUB"          // connects other devices
)

// Device is something that reports attributes and takes commands.
type Device struct {
	ID           id.Device   `json:"deviceId"`
	Name         string      `json:"name"`
	Label        string      `json:"label"`
	Type         string      `json:"type"`
	Location     id.Location `json:"locationId"`
	Room         id.Room     `json:"roomId,omitzero"`
	Manufacturer string      `json:"manufacturerName"`
	Presentation string      `json:"presentationId"`
	Profile      id.Profile  `json:"profile,omitzero"`
	Created      time.Time   `json:"createTime"`
	Components   []Component `json:"components"`

	// Hub is the device of type HUB through which it is connected, if there is one.
	Hub id.Device `json:"hubId,omitzero"`
	// CheckInterval is how many seconds it may be silent before it is taken for offline; 0 is
	// for ever. What the device reports as healthCheck.checkInterval goes before.
	CheckInterval int `json:"checkInterval,omitempty"`

	// Owner is the installed app that a device of type ENDPOINT_APP belongs to, and
	// ExternalID its name there.
	Owner      id.InstalledApp `json:"owner,omitzero"`
	ExternalID string          `json:"externalId,omitempty"`
}

// Component is a part of a device with capabilities of its own; every device has "main".
type Component struct {
	ID           string          `json:"id"`
	Label        string          `json:"label,omitempty"`
	Capabilities []CapabilityRef `json:"capabilities"`
	Categories   []Category      `json:"categories"`
}

// CapabilityRef names a capability and its version.
type CapabilityRef struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
}

// Category says what sort of thing a component is, for icons and voice assistants.
type Category struct {
	Name string `json:"name"`
	Type string `json:"categoryType"`
}

// Component returns the component with the id, and whether the device has it.
func (d *Device) Component(id string) (*Component, bool) {
	for i := range d.Components {
		if d.Components[i].ID == id {
			return &d.Components[i], true
		}
	}
	return nil, false
}

// Has reports whether a component has the capability.
func (c *Component) Has(capability string) bool {
	for _, ref := range c.Capabilities {
		if ref.ID == capability {
			return true
		}
	}
	return false
}

// HasCapability reports whether any component has the capability.
func (d *Device) HasCapability(capability string) bool {
	for i := range d.Components {
		if d.Components[i].Has(capability) {
			return true
		}
	}
	return false
}

// Attribute is what a device last reported of one attribute of one component.
type Attribute struct {
	Component  string           `json:"component"`
	Capability string           `json:"capability"`
	Attribute  string           `json:"attribute"`
	Value      capability.Value `json:"value"`
	Unit       string           `json:"unit,omitempty"`
	Data       capability.Value `json:"data,omitzero"`
	Time       time.Time        `json:"timestamp"`
}

// Profile describes devices of one kind: their components and capabilities.
type Profile struct {
	ID         id.Profile  `json:"id"`
	Name       string      `json:"name"`
	Status     string      `json:"status"`
	Components []Component `json:"components"`
}
