package event

import (
	"encoding/json"
	"time"

	"hark/internal/capability"
	"hark/internal/id"
)

// The lifecycles of devices, scenes and installed apps (reference 2.6, 3.4).
const (
	Create   = "CREATE"
	Install  = "INSTALL"
	Update   = "UPDATE"
	Delete   = "DELETE"
	RoomMove = "ROOM_MOVE"
	// A device that moves to another location causes both: the location that it leaves is told
	// where to, the one that it comes to where from.
	MoveFrom = "MOVE_FROM"
	MoveTo   = "MOVE_TO"
)

// DeviceLifecycle says that a device was added, changed, moved or removed.
type DeviceLifecycle struct {
	Kind      string          `json:"kind"` // of the lifecycles above
	Device    id.Device       `json:"device"`
	Name      string          `json:"name"`      // the device's label
	Principal string          `json:"principal"` // who did it
	Detail    json.RawMessage `json:"detail"`    // the object named after the kind
}

// The members that are named after a kind of lifecycle.
var lifecycleMember = map[string]string{
	Create: "create", Install: "install", Update: "update", Delete: "delete", RoomMove: "roomMove", MoveFrom: "moveFrom", MoveTo: "moveTo",
}

// The states of health of devices and hubs (reference 2.6, 3.4).
const (
	Online    = "ONLINE"
	Offline   = "OFFLINE"
	Unhealthy = "UNHEALTHY" // of devices
)

// Why a device or hub is in its state of health.
const (
	NoReason           = "NONE"
	ServiceUnavailable = "SERVICE_UNAVAILABLE" // it fell silent
	HubDisconnected    = "HUB_DISCONNECTED"    // its hub is offline
	Disconnected       = "DISCONNECTED"        // of hubs
	Inactive           = "INACTIVE"            // of hubs: it fell silent
)

// DeviceHealth says that a device went online or offline.
type DeviceHealth struct {
	Device id.Device `json:"device"`
	Hub    id.Device `json:"hub,omitzero"` // through which it is connected
	Status string    `json:"status"`
	Reason string    `json:"reason"`
	Source string    `json:"source"` // HUB, HUBDEVICE or CLOUD
}

// HubHealth says that a hub, or one of its radios, went online or offline.
type HubHealth struct {
	Hub    id.Device `json:"hub"`
	Status string    `json:"status"`
	Reason string    `json:"reason"`
}

// ArmState says that a location was armed or disarmed.
type ArmState struct {
	State     string          `json:"state"`
	Arguments json.RawMessage `json:"arguments,omitempty"` // optionalArguments, as they came
}

// SceneLifecycle says that a scene was created, changed or deleted.
type SceneLifecycle struct {
	Kind  string   `json:"kind"`
	Scene id.Scene `json:"scene"`
}

// AppLifecycle says that an app was installed, changed or removed.
type AppLifecycle struct {
	Kind string `json:"kind"`
	App  id.App `json:"app"`
}

// Timer says that a schedule of an installed app is due.
type Timer struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"` // CRON or ONCE
	Expression string `json:"expression"`
	// Due is when it was due; the event's time is when it fired.
	Due time.Time `json:"due"`
}

// DeviceCommands tells an installed app what a device of its own is to do.
type DeviceCommands struct {
	Device     id.Device  `json:"device"`
	Profile    id.Profile `json:"profile"`
	ExternalID string     `json:"externalId"`
	Commands   []Command  `json:"commands"`
}

// Command is one of them, as it goes out.
type Command struct {
	Component  string             `json:"componentId"`
	Capability string             `json:"capability"`
	Command    string             `json:"command"`
	Arguments  []capability.Value `json:"arguments"`
}
