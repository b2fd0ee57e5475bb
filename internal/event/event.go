// Package event defines what the journal holds: that something happened in a location.
// It knows the shapes in which events go out to apps, and nothing of who wants them.
package event

import (
	"encoding/json"
	"fmt"
	"time"

	"hark/internal/capability"
	"hark/internal/id"
)

// Type is the API's name for a kind of event (reference 3.2).
type Type string

// The kinds of event.
const (
	DeviceEvent Type = "DEVICE_EVENT"
	ModeEvent   Type = "MODE_EVENT"
)

// Event is one thing that happened. An event is never changed once it is made.
type Event struct {
	Seq      uint64      `json:"-"` // position in the journal
	ID       id.Event    `json:"id"`
	Type     Type        `json:"type"`
	Time     time.Time   `json:"time"`
	Location id.Location `json:"location"`
	// Mode is the location's mode when it happened (after the change, for a MODE_EVENT),
	// so that matching against the past needs nothing but the event.
	Mode   id.Mode `json:"mode"`
	Device *Report `json:"device,omitempty"` // of a DEVICE_EVENT
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

// Encode returns the journal's form of the event.
func (e *Event) Encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("event: encode: " + err.Error()) // every field marshals
	}
	return b
}

// Decode reads what Encode wrote.
func Decode(data []byte) (*Event, error) {
	e := new(Event)
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	switch {
	case e.ID.IsZero() || e.Location.IsZero():
		return nil, fmt.Errorf("decode event: it lacks an id or a location")
	case (e.Type == DeviceEvent) != (e.Device != nil):
		return nil, fmt.Errorf("decode event %s: its type %q and its content differ", e.ID, e.Type)
	}
	return e, nil
}

// Source returns what the event is about, for journal subjects and logs.
func (e *Event) Source() string {
	if e.Device != nil {
		return "device"
	}
	return "mode"
}

// webhookDevice is the deviceEvent of reference 3.4. Owner is always the location.
type webhookDevice struct {
	EventID          id.Event         `json:"eventId"`
	LocationID       id.Location      `json:"locationId"`
	OwnerID          id.Location      `json:"ownerId"`
	OwnerType        string           `json:"ownerType"`
	DeviceID         id.Device        `json:"deviceId"`
	ComponentID      string           `json:"componentId"`
	Capability       string           `json:"capability"`
	Attribute        string           `json:"attribute"`
	Value            capability.Value `json:"value"`
	ValueType        string           `json:"valueType"`
	Unit             string           `json:"unit,omitempty"`
	StateChange      bool             `json:"stateChange"`
	Data             capability.Value `json:"data"`
	SubscriptionName string           `json:"subscriptionName"`
}

type webhookMode struct {
	EventID    id.Event    `json:"eventId"`
	LocationID id.Location `json:"locationId"`
	ModeID     id.Mode     `json:"modeId"`
}

type webhook struct {
	EventTime   string         `json:"eventTime"`
	EventType   Type           `json:"eventType"`
	DeviceEvent *webhookDevice `json:"deviceEvent,omitempty"`
	ModeEvent   *webhookMode   `json:"modeEvent,omitempty"`
}

// streamDevice is the deviceEvent of a stream (reference 2.6): the webhook's and two more.
type streamDevice struct {
	webhookDevice
	CommandID string `json:"commandId"`
	Sensitive bool   `json:"sensitive"`
}

type stream struct {
	EventTime   int64         `json:"eventTime"` // milliseconds; clients fail on anything else
	EventType   Type          `json:"eventType"`
	DeviceEvent *streamDevice `json:"deviceEvent,omitempty"`
	ModeEvent   *webhookMode  `json:"modeEvent,omitempty"`
}

// Stream returns the data of the event on a stream with the name (reference 2.6).
func (e *Event) Stream(streamName string) any {
	w := e.webhook(streamName)
	s := stream{EventTime: e.Time.UnixMilli(), EventType: e.Type, ModeEvent: w.ModeEvent}
	if w.DeviceEvent != nil {
		s.DeviceEvent = &streamDevice{webhookDevice: *w.DeviceEvent, CommandID: e.Device.CommandID}
	}
	return s
}

// Webhook returns the entry of a webhook's "events" (reference 3.3, 3.4) for the
// subscription with the name.
func (e *Event) Webhook(subscriptionName string) any { return e.webhook(subscriptionName) }

func (e *Event) webhook(subscriptionName string) webhook {
	w := webhook{EventTime: e.Time.UTC().Format(time.RFC3339), EventType: e.Type}
	switch e.Type {
	case DeviceEvent:
		d := e.Device
		data := d.Data
		if data == "" {
			data = "{}"
		}
		w.DeviceEvent = &webhookDevice{
			EventID: e.ID, LocationID: e.Location, OwnerID: e.Location, OwnerType: "LOCATION", DeviceID: d.Device,
			ComponentID: d.Component, Capability: d.Capability, Attribute: d.Attribute, Value: d.Value, ValueType: d.Value.Type(),
			Unit: d.Unit, StateChange: d.StateChange, Data: data, SubscriptionName: subscriptionName,
		}
	case ModeEvent:
		w.ModeEvent = &webhookMode{e.ID, e.Location, e.Mode}
	}
	return w
}

type installedAppLifecycle struct {
	EventID      id.Event        `json:"eventId"`
	LocationID   id.Location     `json:"locationId"`
	InstalledApp id.InstalledApp `json:"installedAppId"`
	App          id.App          `json:"appId"`
	Lifecycle    string          `json:"lifecycle"`
	Delete       struct{}        `json:"delete"`
}

// Uninstalled returns the entry of a webhook's "events" that tells an API-access app that it
// is uninstalled. Nobody subscribes to it, and it is not journalled.
func Uninstalled(location id.Location, installed id.InstalledApp, app id.App, at time.Time) any {
	return struct {
		EventTime string                `json:"eventTime"`
		EventType string                `json:"eventType"`
		Event     installedAppLifecycle `json:"installedAppLifecycleEvent"`
	}{at.UTC().Format(time.RFC3339), "INSTALLED_APP_LIFECYCLE_EVENT", installedAppLifecycle{
		EventID: id.New[id.Event](), LocationID: location, InstalledApp: installed, App: app, Lifecycle: "DELETE",
	}}
}
