package apps

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

// The states of an installed app (reference 5.2).
const (
	Installing = "PENDING" // INSTALL is being called; nothing is delivered yet
	Authorized = "AUTHORIZED"
)

// Installed is an app in one location, with what its user configured and granted.
type Installed struct {
	ID            id.InstalledApp  `json:"installedAppId"`
	App           id.App           `json:"appId"`
	Location      id.Location      `json:"locationId"`
	DisplayName   string           `json:"displayName"`
	Status        string           `json:"installedAppStatus"`
	Created       time.Time        `json:"createdDate"`
	LastUpdated   time.Time        `json:"lastUpdatedDate"`
	Configuration id.Configuration `json:"configurationId"`
	Config        Config           `json:"config"`
	Permissions   scope.Set        `json:"permissions"`
	// Paused says since when and why nothing is delivered; nil while it is.
	Paused *Pause `json:"paused,omitempty"`
}

// Pause is a stop of deliveries until somebody resumes them.
type Pause struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Config maps a setting's id to its entries (reference 4.5).
type Config map[string][]ConfigEntry

// ConfigEntry is one value of a setting; exactly the member that ValueType names is there.
type ConfigEntry struct {
	ValueType  string            `json:"valueType"`
	String     *StringConfig     `json:"stringConfig,omitempty"`
	Device     *DeviceConfig     `json:"deviceConfig,omitempty"`
	Mode       *ModeConfig       `json:"modeConfig,omitempty"`
	Scene      *SceneConfig      `json:"sceneConfig,omitempty"`
	Permission *PermissionConfig `json:"permissionConfig,omitempty"`
	Message    *MessageConfig    `json:"messageConfig,omitempty"`
}

// StringConfig is the value of every setting that has no type of its own.
type StringConfig struct {
	Value string `json:"value"`
}

// DeviceConfig is a chosen device.
type DeviceConfig struct {
	DeviceID    id.Device `json:"deviceId"`
	ComponentID string    `json:"componentId"`
	Permissions []string  `json:"permissions,omitempty"` // r, w, x
}

// ModeConfig is a chosen mode.
type ModeConfig struct {
	ModeID id.Mode `json:"modeId"`
}

// SceneConfig is a chosen scene.
type SceneConfig struct {
	SceneID     string   `json:"sceneId"`
	Permissions []string `json:"permissions,omitempty"`
}

// PermissionConfig is a granted permission.
type PermissionConfig struct {
	Permissions []string `json:"permissions"`
}

// MessageConfig is a chosen group of messages.
type MessageConfig struct {
	MessageGroupKey string `json:"messageGroupKey"`
}

// Check reports what is wrong with a configuration (reference 4.5) and fills in the
// component "main" where a device entry names none.
func (c Config) Check() error {
	for setting, entries := range c {
		for i := range entries {
			e := &entries[i]
			target := fmt.Sprintf("config.%s[%d]", setting, i)
			ok := false
			switch e.ValueType {
			case "STRING":
				ok = e.String != nil
			case "DEVICE":
				ok = e.Device != nil
			case "MODE":
				ok = e.Mode != nil
			case "SCENE":
				ok = e.Scene != nil
			case "PERMISSION":
				ok = e.Permission != nil
			case "MESSAGE":
				ok = e.Message != nil
			default:
				return problem.Field(target+".valueType", "PatternError", "%.40q is not one of STRING, DEVICE, MODE, SCENE, PERMISSION, MESSAGE", e.ValueType)
			}
			if !ok {
				return problem.Field(target, "NotNullError", "its valueType is %s but %sConfig is missing", e.ValueType, strings.ToLower(e.ValueType))
			}
			if e.Device != nil {
				if e.Device.DeviceID.IsZero() {
					return problem.Field(target+".deviceConfig.deviceId", "NotEmptyError", "is missing")
				}
				if e.Device.ComponentID == "" {
					e.Device.ComponentID = "main"
				}
				for _, p := range e.Device.Permissions {
					if p != "r" && p != "w" && p != "x" {
						return problem.Field(target+".deviceConfig.permissions", "PatternError", "%.20q is not one of r, w, x", p)
					}
				}
			}
		}
	}
	return nil
}

// Devices returns the chosen devices, each once, in no particular order.
func (c Config) Devices() []*DeviceConfig {
	var devices []*DeviceConfig
	for _, entries := range c {
		for _, e := range entries {
			if e.Device != nil {
				devices = append(devices, e.Device)
			}
		}
	}
	return devices
}

// Permissions returns what follows from an app's registered scopes and the configuration
// when an install names no permissions: the scopes themselves, "$" replaced by each chosen
// device, and r, w, x of each device as its entry says, r where nothing else says a thing.
func Permissions(registered scope.Set, config Config) scope.Set {
	var granted scope.Set
	add := func(s scope.Scope) {
		if !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	devices := config.Devices()
	for _, s := range registered {
		if !strings.Contains(string(s), "$") {
			add(s)
			continue
		}
		for _, d := range devices {
			if one, ok := s.Selected(d.DeviceID); ok {
				add(one)
			}
		}
	}
	for _, d := range devices {
		for _, verb := range d.Permissions {
			add(scope.Device(verb, d.DeviceID))
		}
		if !granted.Covers(scope.Device("r", d.DeviceID)) {
			add(scope.Device("r", d.DeviceID))
		}
	}
	slices.Sort(granted)
	return granted
}

// CheckPermissions reports a permission that exceeds what the app registered. An app that
// registered no scopes may be granted any.
func CheckPermissions(app *App, permissions scope.Set) error {
	for i, p := range permissions {
		if strings.Contains(string(p), "$") {
			return problem.Field(fmt.Sprintf("permissions[%d]", i), "PatternError", "%s stands for devices that the user selects; name the devices instead", p)
		}
		if len(app.OAuth.Scope) > 0 && !app.OAuth.Scope.Offers(p) {
			return problem.Field(fmt.Sprintf("permissions[%d]", i), "UnsupportedPermissionRequestedError",
				"%s exceeds what the app %s registered (%v); add it with PUT /apps/%s/oauth", p, app.Name, app.OAuth.Scope.Strings(), app.ID)
		}
	}
	return nil
}
