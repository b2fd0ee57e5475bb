// Package envelope writes the bodies of calls to apps: the SmartApp envelope with its
// lifecycles and the API-access envelope (reference 3.1, 4). It is pure.
package envelope

import (
	"bytes"
	"cmp"
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

	Configuration Lifecycle = "CONFIGURATION"
	OAuthCallback Lifecycle = "OAUTH_CALLBACK"
	Execute       Lifecycle = "EXECUTE"
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
	// Client says how the person's device shows pages; of calls on behalf of one.
	Client            *Client            `json:"client,omitempty"`
	ConfigurationData *ConfigurationData `json:"configurationData,omitempty"`
	ExecuteData       *ExecuteData       `json:"executeData,omitempty"`
	// The same data under the two names that receivers know (reference 4.8).
	OAuthCallbackData *OAuthCallbackData `json:"oauthCallbackData,omitempty"`
	OtherCallbackData *OAuthCallbackData `json:"oAuthCallbackData,omitempty"`
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

// Client is the program that shows an app's pages.
type Client struct {
	OS                 string   `json:"os"`
	Version            string   `json:"version"`
	Language           string   `json:"language"`
	DisplayMode        string   `json:"displayMode"`
	SupportedTemplates []string `json:"supportedTemplates"`
}

// ConfigurationData asks for what an app is, or for one of its pages (reference 4.4).
type ConfigurationData struct {
	InstalledApp id.InstalledApp `json:"installedAppId"`
	Phase        string          `json:"phase"` // INITIALIZE or PAGE
	PageID       string          `json:"pageId"`
	PreviousID   string          `json:"previousPageId"`
	Config       apps.Config     `json:"config"`
}

// OAuthCallbackData says that a person came back from a third party (reference 4.8).
type OAuthCallbackData struct {
	InstalledApp id.InstalledApp `json:"installedAppId"`
	URLPath      string          `json:"urlPath"`
}

// ExecuteData asks an installed app to do something (reference 4.9).
type ExecuteData struct {
	AuthToken    string         `json:"authToken"`
	InstalledApp InstalledApp   `json:"installedApp"`
	Parameters   map[string]any `json:"parameters"`
}

// EventData carries events, which [Events] puts in.
type EventData struct {
	AuthToken    string       `json:"authToken,omitempty"`
	InstalledApp InstalledApp `json:"installedApp"`
	Events       []struct{}   `json:"events"`
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

// Events returns the body of a call with events, which each appends as JSON, one after the other.
func Events(app *apps.App, in *apps.Installed, authToken string, count int, each func(b []byte, i int) []byte) []byte {
	b := make([]byte, 0, 512+count*bytesPerEvent)
	var end []byte
	if app.SmartApp() {
		empty := Encode(app, Event, Call{EventData: &EventData{AuthToken: authToken, InstalledApp: Describe(app, in), Events: []struct{}{}}})
		at := bytes.LastIndex(empty, []byte(noEvents)) + len(noEvents) - 1
		b, end = append(b, empty[:at]...), empty[at:]
	} else { // nearly all of most bodies is events, so the rest is written by hand too
		b = in.ID.Append(append(b, `{"messageType":"EVENT","eventData":{"installedApp":{"installedAppId":"`...))
		b = append(in.Location.Append(append(b, `","locationId":"`...)), `"},"events":[`...)
		end = []byte(`]}}`)
	}
	for i := range count {
		if i > 0 {
			b = append(b, ',')
		}
		b = each(b, i)
	}
	return append(b, end...)
}

// noEvents is where events go. It stands once in what follows an app's configuration: settings are
// texts, in which quotes are escaped.
const noEvents = `"events":[]`

// bytesPerEvent is room enough for nearly every event.
const bytesPerEvent = 640

// Encode returns the call's body in the envelope of the app's type.
func Encode(app *apps.App, lifecycle Lifecycle, c Call) []byte {
	if app.SmartApp() {
		c.Lifecycle, c.ExecutionID, c.Locale, c.Version = lifecycle, id.New[id.Event]().String(), cmp.Or(c.Locale, "en"), "1.0.0"
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
