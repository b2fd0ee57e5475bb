// Package event defines what the journal holds: that something happened in a location.
// It knows the shapes in which events go out to apps, and nothing of who wants them.
package event

import (
	"encoding/json"
	"fmt"
	"time"

	"hark/internal/capability"
	"hark/internal/id"
	"hark/internal/scope"
)

// Type is the API's name for a kind of event (reference 3.2).
type Type string

// The kinds of event.
const (
	DeviceEvent                Type = "DEVICE_EVENT"
	ModeEvent                  Type = "MODE_EVENT"
	DeviceLifecycleEvent       Type = "DEVICE_LIFECYCLE_EVENT"
	DeviceHealthEvent          Type = "DEVICE_HEALTH_EVENT"
	SecurityArmStateEvent      Type = "SECURITY_ARM_STATE_EVENT"
	HubHealthEvent             Type = "HUB_HEALTH_EVENT"
	SceneLifecycleEvent        Type = "SCENE_LIFECYCLE_EVENT"
	InstalledAppLifecycleEvent Type = "INSTALLED_APP_LIFECYCLE_EVENT"
	TimerEvent                 Type = "TIMER_EVENT"
	DeviceCommandsEvent        Type = "DEVICE_COMMANDS_EVENT"
)

// Event is one thing that happened. An event is never changed once it is made. Of the members
// that end it, the one that Type calls for is there.
type Event struct {
	Seq      uint64      `json:"-"` // position in the journal
	Taken    time.Time   `json:"-"` // when the journal took it
	ID       id.Event    `json:"id"`
	Type     Type        `json:"type"`
	Time     time.Time   `json:"time"`
	Location id.Location `json:"location"`
	// Mode is the location's mode when it happened (after the change, for a MODE_EVENT),
	// so that matching against the past needs nothing but the event.
	Mode id.Mode `json:"mode"`
	// InstalledApp is whose timer, device or lifecycle it is. See [Event.Unasked].
	InstalledApp id.InstalledApp `json:"installedApp,omitzero"`
	// Trace is where in a trace it was caused, as a W3C traceparent; "" for nowhere.
	Trace string `json:"trace,omitempty"`

	Device    *Report          `json:"device,omitempty"`
	Lifecycle *DeviceLifecycle `json:"lifecycle,omitempty"`
	Health    *DeviceHealth    `json:"health,omitempty"`
	Hub       *HubHealth       `json:"hub,omitempty"`
	Arm       *ArmState        `json:"arm,omitempty"`
	Scene     *SceneLifecycle  `json:"scene,omitempty"`
	App       *AppLifecycle    `json:"app,omitempty"`
	Timer     *Timer           `json:"timer,omitempty"`
	Commands  *DeviceCommands  `json:"commands,omitempty"`
}

// Report is what a device said about one attribute.
type Report struct {
	Device      id.Device        `json:"device"`
	Component   string           `json:"component"`
	Capability  string           `json:"capability"`
	Attribute   string           `json:"attribute"`
	Value       capability.Value `json:"value"`
	Unit        string           `json:"unit,omitempty"`
	Data        capability.Value `json:"data,omitzero"`
	StateChange bool             `json:"stateChange"` // the value differs from the one before
	CommandID   string           `json:"commandId,omitempty"`
}

// New returns an event of now with a new id.
func New(t Type, at id.Location, mode id.Mode) *Event {
	return &Event{ID: id.New[id.Event](), Type: t, Time: time.Now().UTC().Truncate(time.Millisecond), Location: at, Mode: mode}
}

// About returns the device that the event is about, or the zero id.
func (e *Event) About() id.Device {
	switch {
	case e.Device != nil:
		return e.Device.Device
	case e.Lifecycle != nil:
		return e.Lifecycle.Device
	case e.Health != nil:
		return e.Health.Device
	case e.Hub != nil:
		return e.Hub.Hub
	}
	return id.Device{}
}

// Unasked reports whether the event goes to its installed app without a subscription.
func (e *Event) Unasked() bool { return e.Timer != nil || e.Commands != nil }

// Needs returns the scopes of which one must be held by whom the event is shown to. Who it is
// about ([Event.InstalledApp]) needs none: see [Event.ShownTo].
func (e *Event) Needs() []scope.Scope {
	switch {
	case e.Device != nil:
		device := scope.Device("r", e.Device.Device)
		return []scope.Scope{device, scope.Scope(string(device) + ":" + e.Device.Capability)}
	case e.Lifecycle != nil || e.Health != nil:
		return []scope.Scope{scope.Device("r", e.About())}
	case e.Arm != nil:
		return []scope.Scope{scope.ArmState("r", e.Location)}
	case e.Hub != nil:
		return []scope.Scope{scope.Scope("r:hubs:" + e.Hub.Hub.String())}
	case e.Scene != nil:
		return []scope.Scope{scope.Scope("r:scenes:" + e.Scene.Scene.String())}
	case e.Timer != nil || e.App != nil || e.Commands != nil:
		return []scope.Scope{scope.Scope("r:installedapps:" + e.InstalledApp.String())}
	}
	return []scope.Scope{scope.Location("r", e.Location)}
}

// ShownTo returns nil when the principal may see the event now, else a refusal that names the
// scope that is missing.
func (e *Event) ShownTo(p scope.Principal) error {
	if p.IsApp() && e.InstalledApp == p.InstalledApp {
		return nil
	}
	return p.Require(e.Needs()...)
}

// Encode returns the journal's form of the event.
func (e *Event) Encode() []byte {
	if e.Device != nil {
		return e.pack()
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic("event: encode: " + err.Error()) // every field marshals
	}
	return b
}

// Decode reads what Encode wrote.
func Decode(data []byte) (*Event, error) {
	e := new(Event)
	var err error
	if len(data) > 0 && data[0] == packedReport {
		e, err = unpack(data)
	} else {
		err = json.Unmarshal(data, e)
	}
	if err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	if e.ID.IsZero() || e.Location.IsZero() {
		return nil, fmt.Errorf("decode event: it lacks an id or a location")
	}
	for _, content := range [...]struct {
		of    Type
		there bool
	}{
		{DeviceEvent, e.Device != nil}, {DeviceLifecycleEvent, e.Lifecycle != nil}, {DeviceHealthEvent, e.Health != nil}, {SecurityArmStateEvent, e.Arm != nil},
		{HubHealthEvent, e.Hub != nil}, {SceneLifecycleEvent, e.Scene != nil}, {InstalledAppLifecycleEvent, e.App != nil}, {TimerEvent, e.Timer != nil},
		{DeviceCommandsEvent, e.Commands != nil},
	} {
		if (e.Type == content.of) != content.there {
			return nil, fmt.Errorf("decode event %s: its type %q and its content differ", e.ID, e.Type)
		}
	}
	return e, nil
}
