// Package envelope writes the bodies of calls to apps: the SmartApp envelope with its
// lifecycles and the API-access envelope (reference 3.1, 4). It is pure.
package envelope

import (
	"encoding/json"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/scope"
)

// Lifecycle is the reason of a call to an app.
type Lifecycle string

// The lifecycles that hark calls.
const (
	Ping         Lifecycle = "PING"
	Confirmation Lifecycle = "CONFIRMATION"
	Install      Lifecycle = "INSTALL"
	Update       Lifecycle = "UPDATE"
	Uninstall    Lifecycle = "UNINSTALL"
	Event        Lifecycle = "EVENT"
)

// Call is a call's content; exactly one of the data members is there.
type Call struct {
	Lifecycle        Lifecycle         `json:"lifecycle,omitempty"`
	MessageType      Lifecycle         `json:"messageType,omitempty"`
	ExecutionID      string            `json:"executionId,omitempty"`
	AppID            string            `json:"appId,omitempty"`
	Locale           string            `json:"locale,omitempty"`
	Version          string            `json:"version,omitempty"`
	PingData         *PingData         `json:"pingData,omitempty"`
	ConfirmationData *ConfirmationData `json:"confirmationData,omitempty"`
	InstallData      *InstallData      `json:"installData,omitempty"`
	UpdateData       *UpdateData       `json:"updateData,omitempty"`
	UninstallData    *UninstallData    `json:"uninstallData,omitempty"`
	EventData        *EventData        `json:"eventData,omitempty"`
	// Settings are the app's settings; every SmartApp call carries them.
	Settings *map[string]string `json:"settings,omitempty"`
}

// PingData is answered with the same challenge.
type PingData struct {
	Challenge string `json:"challenge"`
}

// ConfirmationData asks the developer to open the URL.
type ConfirmationData struct {
	AppID           id.App `json:"appId"`
	ConfirmationURL string `json:"confirmationUrl"`
}

// InstalledApp is an installed app as calls describe it. Config and Permissions are for
// SmartApps only.
type InstalledApp struct {
	ID          id.InstalledApp `json:"installedAppId"`
	Location    id.Location     `json:"locationId"`
	Config      apps.Config     `json:"config,omitzero"`
	Permissions *scope.Set      `json:"permissions,omitempty"`
}

// InstallData comes with tokens that work already.
type InstallData struct {
	AuthToken    string       `json:"authToken"`
	RefreshToken string       `json:"refreshToken"`
	InstalledApp InstalledApp `json:"installedApp"`
}

// UpdateData also says what was before.
type UpdateData struct {
	AuthToken           string       `json:"authToken"`
	RefreshToken        string       `json:"refreshToken"`
	InstalledApp        InstalledApp `json:"installedApp"`
	PreviousConfig      apps.Config  `json:"previousConfig"`
	PreviousPermissions scope.Set    `json:"previousPermissions"`
}

// UninstallData has no token: there is nothing left to call for.
type UninstallData struct {
	InstalledApp InstalledApp `json:"installedApp"`
}

// EventData carries events, one by default.
type EventData struct {
	AuthToken    string       `json:"authToken,omitempty"`
	InstalledApp InstalledApp `json:"installedApp"`
	Events       []any        `json:"events"`
}

// Describe returns the installed app as calls to its type of app describe it.
func Describe(app *apps.App, in *apps.Installed) InstalledApp {
	d := InstalledApp{ID: in.ID, Location: in.Location}
	if app.SmartApp() {
		d.Config, d.Permissions = in.Config, &in.Permissions
		if d.Config == nil {
			d.Config = apps.Config{}
		}
	}
	return d
}

// Encode returns the call's body in the envelope of the app's type.
func Encode(app *apps.App, lifecycle Lifecycle, c Call) []byte {
	if app.SmartApp() {
		c.Lifecycle, c.ExecutionID, c.Locale, c.Version = lifecycle, id.New[id.Event]().String(), "en", "1.0.0"
		if !app.ID.IsZero() {
			c.AppID = app.ID.String()
		}
		settings := app.Settings
		if settings == nil {
			settings = map[string]string{}
		}
		c.Settings = &settings
	} else {
		c.MessageType = lifecycle
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic("envelope: " + err.Error()) // every field marshals
	}
	return b
}
