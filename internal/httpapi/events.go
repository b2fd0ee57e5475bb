package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"

	"hark/internal/capability"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/shard"
)

// maxDeviceEvents bounds one request of reports of a single device (reference 8).
const maxDeviceEvents = 50

// eventBody is a report as requests bring it.
type eventBody struct {
	DeviceID    id.Device        `json:"deviceId"`
	Component   string           `json:"component"`
	ComponentID string           `json:"componentId"`
	Capability  string           `json:"capability"`
	Attribute   string           `json:"attribute"`
	Value       capability.Value `json:"value"`
	Unit        string           `json:"unit"`
	Data        capability.Value `json:"data"`
	Timestamp   time.Time        `json:"timestamp"`
	StateChange *bool            `json:"stateChange"`
}

func (e *eventBody) report() shard.Report {
	return shard.Report{Device: e.DeviceID, Component: cmp.Or(e.Component, e.ComponentID), Capability: e.Capability, Attribute: e.Attribute,
		Value: e.Value, Unit: e.Unit, Data: e.Data, Time: e.Timestamp, StateChange: e.StateChange}
}

// reported reads deviceEvents and journals them all, or none when one is bad.
func (c *call) reported() ([]shard.Outcome, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	var body struct {
		DeviceEvents []eventBody `json:"deviceEvents"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.DeviceEvents) == 0 || len(body.DeviceEvents) > maxDeviceEvents {
		return nil, problem.Field("deviceEvents", "SizeError", "has %d entries; a request has 1 to %d, and POST /hark/v1/events takes more", len(body.DeviceEvents), maxDeviceEvents)
	}
	reports := make([]shard.Report, len(body.DeviceEvents))
	for i := range body.DeviceEvents {
		reports[i] = body.DeviceEvents[i].report()
		reports[i].Device = device
	}
	return c.shard.Report(c.Context(), c.principal, reports, true)
}

func (c *call) deviceEvents() (any, error) {
	_, err := c.reported()
	return nothing{}, err
}

func (c *call) virtualDeviceEvents() (any, error) {
	outcomes, err := c.reported()
	if err != nil {
		return nil, err
	}
	changes := make([]bool, len(outcomes))
	for i, o := range outcomes {
		changes[i] = o.Event.Device.StateChange
	}
	return map[string]any{"stateChanges": changes}, nil
}

// bulkLine is one line of a bulk answer.
type bulkLine struct {
	Line        int       `json:"line"`
	EventID     *id.Event `json:"eventId,omitempty"`
	StateChange *bool     `json:"stateChange,omitempty"`
	Error       any       `json:"error,omitempty"`
}

type bulkAnswer struct {
	Accepted int        `json:"accepted"`
	Rejected int        `json:"rejected"`
	Results  []bulkLine `json:"results"`
}

// bulkEvents takes one JSON event, or NDJSON of many, for any devices. All that are accepted
// are durable when it answers; each bad one is reported by its line and harms no other.
func (c *call) bulkEvents() (any, error) {
	b, err := c.bytes(maxBulk)
	if err != nil {
		return nil, err
	}
	lines, numbers := splitEvents(b)
	if len(lines) == 0 {
		return nil, problem.New(problem.Invalid, "The body is empty; it has one JSON event, or one on each line.")
	}
	answer := bulkAnswer{Results: make([]bulkLine, len(lines))}
	var reports []shard.Report
	var places []int // of the reports in the answer
	for i, line := range lines {
		answer.Results[i].Line = numbers[i]
		var e eventBody
		if err := decode(line, &e); err != nil {
			if len(lines) == 1 {
				return nil, err
			}
			_, answer.Results[i].Error = describe(err)
			continue
		}
		reports = append(reports, e.report())
		places = append(places, i)
	}
	outcomes, err := c.shard.Report(c.Context(), c.principal, reports, false)
	if err != nil {
		return nil, err
	}
	for i, o := range outcomes {
		line := &answer.Results[places[i]]
		if o.Err != nil {
			if len(lines) == 1 {
				return nil, o.Err
			}
			_, line.Error = describe(o.Err)
			continue
		}
		line.EventID, line.StateChange = &o.Event.ID, &o.Event.Device.StateChange
		answer.Accepted++
	}
	answer.Rejected = len(lines) - answer.Accepted
	return answer, nil
}

// splitEvents returns the JSON texts in the body and a number for each: the whole body when
// it is one value, an array's items, else its lines.
func splitEvents(b []byte) (texts [][]byte, numbers []int) {
	n := 0
	var items []json.RawMessage
	if trimmed := bytes.TrimSpace(b); json.Unmarshal(trimmed, &items) == nil {
		for _, item := range items {
			n++
			texts, numbers = append(texts, item), append(numbers, n)
		}
		return texts, numbers
	} else if json.Valid(trimmed) {
		return [][]byte{trimmed}, []int{1}
	}
	for line := range bytes.Lines(b) {
		n++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			texts, numbers = append(texts, line), append(numbers, n)
		}
	}
	return texts, numbers
}
