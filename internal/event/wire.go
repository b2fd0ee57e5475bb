package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"hark/internal/id"
	"hark/internal/jsontext"
)

// common begins every event's content. The owner is always the location; it is told on
// streams, and on webhooks of what is about a device.
type common struct {
	EventID    id.Event    `json:"eventId"`
	LocationID id.Location `json:"locationId"`
	OwnerID    id.Location `json:"ownerId,omitzero"`
	OwnerType  string      `json:"ownerType,omitempty"`
}

// deviceContent is nearly all that goes out, so it writes itself.
type deviceContent struct {
	*Event
	subscriptionName string
	stream           bool // with what only streams tell (reference 2.6)
}

func (c *deviceContent) append(b []byte) []byte {
	d := c.Device
	data, value := cmp.Or(d.Data, "{}"), cmp.Or(d.Value, "null")
	b = slices.Grow(b, 640+len(value)+len(data))
	b = c.Event.ID.Append(append(b, `{"eventId":"`...))
	b = c.Location.Append(append(b, `","locationId":"`...))
	b = c.Location.Append(append(b, `","ownerId":"`...))
	b = d.Device.Append(append(b, `","ownerType":"LOCATION","deviceId":"`...))
	b = jsontext.Append(append(b, `","componentId":`...), d.Component)
	b = jsontext.Append(append(b, `,"capability":`...), d.Capability)
	b = jsontext.Append(append(b, `,"attribute":`...), d.Attribute)
	b = append(append(b, `,"value":`...), value...)
	b = append(append(append(b, `,"valueType":"`...), d.Value.Type()...), '"')
	if d.Unit != "" {
		b = jsontext.Append(append(b, `,"unit":`...), d.Unit)
	}
	b = strconv.AppendBool(append(b, `,"stateChange":`...), d.StateChange)
	b = append(append(b, `,"data":`...), data...)
	b = jsontext.Append(append(b, `,"subscriptionName":`...), c.subscriptionName)
	if c.stream {
		b = append(jsontext.Append(append(b, `,"commandId":`...), d.CommandID), `,"sensitive":false`...)
	}
	return append(b, '}')
}

type modeContent struct {
	common
	ModeID id.Mode `json:"modeId"`
}

type healthContent struct {
	common
	DeviceID id.Device `json:"deviceId"`
	HubID    id.Device `json:"hubId"` // "" for none
	Status   string    `json:"status"`
	Reason   string    `json:"reason"`
	Source   string    `json:"eventSource"`
}

type hubContent struct {
	common
	HubID  id.Device `json:"hubId"`
	Status string    `json:"status"`
	Reason string    `json:"reason"`
}

type armContent struct {
	common
	State     string          `json:"armState"`
	Arguments json.RawMessage `json:"optionalArguments"`
}

type timerContent struct {
	EventID    id.Event `json:"eventId"`
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Time       string   `json:"time"`
	Expression string   `json:"expression"`
}

type commandsContent struct {
	EventID    id.Event   `json:"eventId"`
	DeviceID   id.Device  `json:"deviceId"`
	ProfileID  id.Profile `json:"profileId"`
	ExternalID string     `json:"externalId"`
	Commands   []Command  `json:"commands"`
}

type lifecycleContent struct {
	common
	Lifecycle string    `json:"lifecycle"`
	DeviceID  id.Device `json:"deviceId"`
	Name      string    `json:"deviceName"`
	Principal string    `json:"principal"`
}

type sceneContent struct {
	common
	Lifecycle string   `json:"lifecycle"`
	SceneID   id.Scene `json:"sceneId"`
}

type appContent struct {
	common
	InstalledAppID id.InstalledApp `json:"installedAppId"`
	AppID          id.App          `json:"appId"`
	Lifecycle      string          `json:"lifecycle"`
}

// detailed is content with one more member, which is named after the kind of lifecycle.
type detailed struct {
	content any
	kind    string
	detail  json.RawMessage // nil is an empty object
}

func (d detailed) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(d.content)
	if err != nil {
		return nil, err
	}
	detail := d.detail
	if detail == nil {
		detail = json.RawMessage("{}")
	}
	return fmt.Appendf(bytes.TrimSuffix(b, []byte("}")), `,%q:%s}`, lifecycleMember[d.kind], detail), nil
}

// members names the member that holds an event's content.
var members = map[Type]string{
	DeviceEvent: "deviceEvent", ModeEvent: "modeEvent", DeviceLifecycleEvent: "deviceLifecycleEvent", DeviceHealthEvent: "deviceHealthEvent",
	SecurityArmStateEvent: "securityArmStateEvent", HubHealthEvent: "hubHealthEvent", SceneLifecycleEvent: "sceneLifecycleEvent",
	InstalledAppLifecycleEvent: "installedAppLifecycleEvent", TimerEvent: "timerEvent",
	DeviceCommandsEvent: "deviceCommandsEvent",
}

// wire is an event as it goes out.
type wire struct {
	time    time.Time
	text    bool // RFC 3339 on webhooks, milliseconds on streams: clients fail on the other
	of      Type
	content any
}

func (w wire) MarshalJSON() ([]byte, error) { return w.append(nil), nil }

func (w wire) append(b []byte) []byte {
	b = append(b, `{"eventTime":`...)
	if w.text {
		b = append(w.time.UTC().AppendFormat(append(b, '"'), time.RFC3339), '"')
	} else {
		b = strconv.AppendInt(b, w.time.UnixMilli(), 10)
	}
	b = append(append(append(b, `,"eventType":"`...), w.of...), `","`...)
	b = append(append(b, members[w.of]...), `":`...)
	if d, ok := w.content.(*deviceContent); ok {
		return append(d.append(b), '}')
	}
	content, err := json.Marshal(w.content)
	if err != nil {
		panic("event: encode: " + err.Error()) // every field marshals
	}
	return append(append(b, content...), '}')
}

// Webhook returns the entry of a webhook's "events" (reference 3.3, 3.4) for the
// subscription with the name.
func (e *Event) Webhook(subscriptionName string) any { return e.webhook(subscriptionName) }

// AppendWebhook appends it as JSON.
func (e *Event) AppendWebhook(b []byte, subscriptionName string) []byte {
	return e.webhook(subscriptionName).append(b)
}

func (e *Event) webhook(subscriptionName string) wire {
	return wire{e.Time, true, e.Type, e.content(subscriptionName, e.Device != nil || e.Lifecycle != nil || e.Health != nil)}
}

// Stream returns the data of the event on a stream with the name (reference 2.6).
func (e *Event) Stream(streamName string) any {
	content := e.content(streamName, true)
	if d, ok := content.(*deviceContent); ok {
		d.stream = true
	}
	return wire{e.Time, false, e.Type, content}
}

func (e *Event) content(subscriptionName string, owner bool) any {
	c := common{EventID: e.ID, LocationID: e.Location}
	if owner {
		c.OwnerID, c.OwnerType = e.Location, "LOCATION"
	}
	switch {
	case e.Device != nil:
		return &deviceContent{e, subscriptionName, false}
	case e.Lifecycle != nil:
		l := e.Lifecycle
		return detailed{lifecycleContent{c, l.Kind, l.Device, l.Name, l.Principal}, l.Kind, l.Detail}
	case e.Health != nil:
		h := e.Health
		return healthContent{c, h.Device, h.Hub, h.Status, h.Reason, h.Source}
	case e.Hub != nil:
		return hubContent{c, e.Hub.Hub, e.Hub.Status, e.Hub.Reason}
	case e.Arm != nil:
		arguments := e.Arm.Arguments
		if arguments == nil {
			arguments = json.RawMessage("{}")
		}
		return armContent{c, e.Arm.State, arguments}
	case e.Scene != nil:
		return detailed{sceneContent{c, e.Scene.Kind, e.Scene.Scene}, e.Scene.Kind, nil}
	case e.App != nil:
		return detailed{appContent{c, e.InstalledApp, e.App.App, e.App.Kind}, e.App.Kind, nil}
	case e.Commands != nil:
		return commandsContent{e.ID, e.Commands.Device, e.Commands.Profile, e.Commands.ExternalID, e.Commands.Commands}
	case e.Timer != nil:
		return timerContent{e.ID, e.Timer.Name, e.Timer.Kind, e.Timer.Due.UTC().Format(time.RFC3339), e.Timer.Expression}
	}
	return modeContent{c, e.Mode}
}
