package home

import (
	"time"

	"hark/internal/capability"
	"hark/internal/id"
)

// Scene is a named list of actions that are executed together (reference 7.6).
type Scene struct {
	ID           id.Scene    `json:"sceneId"`
	Location     id.Location `json:"locationId"`
	Name         string      `json:"sceneName"`
	Icon         string      `json:"sceneIcon"`
	Color        string      `json:"sceneColor"`
	CreatedBy    string      `json:"createdBy"`
	Created      time.Time   `json:"created"`
	LastUpdated  time.Time   `json:"lastUpdated"`
	LastExecuted time.Time   `json:"lastExecuted,omitzero"`
	Actions      []Action    `json:"actions"`
}

// Action is one thing that a scene does: exactly one member is there. The platform does not
// document how scenes are made; the shape is that of its rules.
type Action struct {
	Command  *CommandAction  `json:"command,omitempty"`
	Location *LocationAction `json:"location,omitempty"`
	Security *SecurityAction `json:"security,omitempty"`
}

// CommandAction tells devices to do something.
type CommandAction struct {
	Devices  []id.Device `json:"devices"`
	Commands []Command   `json:"commands"`
}

// Command is one command to a device.
type Command struct {
	Component  string             `json:"component"` // "" is main
	Capability string             `json:"capability"`
	Command    string             `json:"command"`
	Arguments  []capability.Value `json:"arguments"`
}

// LocationAction changes the location's mode.
type LocationAction struct {
	Mode id.Mode `json:"mode"`
}

// SecurityAction arms or disarms the location.
type SecurityAction struct {
	ArmState string `json:"armState"`
}
