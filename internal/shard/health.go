package shard

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// Health is how a device is (reference 7.1). The zero Health is that of a device that is
// online and never was anything else.
type Health struct {
	Status string    `json:"status,omitempty"` // see package event; "" is ONLINE
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Is returns the status.
func (h Health) Is() string {
	if h.Status == "" {
		return event.Online
	}
	return h.Status
}

// The attributes by which a device speaks of its own health and of how often it reports.
const (
	healthCheck   = "healthCheck"
	checkInterval = "checkInterval" // in seconds
)

// statuses lists what can be said of a device; of a hub, its radios too (reference 3.4).
var (
	statuses      = []string{event.Online, event.Offline, event.Unhealthy}
	hubStatuses   = []string{event.Online, event.Offline, "ZWAVE_OFFLINE", "ZWAVE_ONLINE", "ZIGBEE_OFFLINE", "ZIGBEE_ONLINE", "BLUETOOTH_OFFLINE", "BLUETOOTH_ONLINE"}
	deviceReasons = []string{event.NoReason, event.ServiceUnavailable, "HUB_OFFLINE", "ZWAVE_OFFLINE", "ZIGBEE_OFFLINE", "BLUETOOTH_OFFLINE", event.HubDisconnected}
	hubReasons    = []string{event.NoReason, event.Disconnected, event.Inactive}
)

// Health returns how the device is, and when it last said anything.
func (s *Shard) Health(p scope.Principal, device id.Device) (Health, time.Time, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, err := s.device(p, device, "r")
	if err != nil {
		return Health{}, time.Time{}, err
	}
	h := d.health
	if h.Status == "" {
		h.Status, h.Reason, h.Since = event.Online, event.NoReason, d.home.Created
	}
	return h, d.lastReport, nil
}

// SetHealth says how a device is. Of a hub, the devices behind it follow. What is so already
// is no event. A device that is offline is online again when it reports.
func (s *Shard) SetHealth(ctx context.Context, p scope.Principal, device id.Device, status, reason string) error {
	return s.happen(ctx, func() ([]*event.Event, error) {
		d, err := s.device(p, device, "w")
		if err != nil {
			return nil, err
		}
		known, reasons := statuses, deviceReasons
		if d.home.Type == home.Hub {
			known, reasons = hubStatuses, hubReasons
		}
		if !slices.Contains(known, status) {
			return nil, problem.Field("state", "PatternError", "%.40q is not one of %s", status, strings.Join(known, ", "))
		}
		if reason == "" {
			reason = event.NoReason
			if d.home.Type == home.Hub && status == event.Offline {
				reason = event.Disconnected
			}
		}
		if !slices.Contains(reasons, reason) {
			return nil, problem.Field("reason", "PatternError", "%.40q is not one of %s", reason, strings.Join(reasons, ", "))
		}
		return s.turn(d, status, reason), nil
	})
}

// turn changes the health of a device, and of those behind it, and returns what happens. The
// caller holds mu and journals that.
func (s *Shard) turn(d *device, status, reason string) []*event.Event {
	if slices.Contains(hubStatuses[2:], status) { // a radio: the hub itself is as before
		return []*event.Event{s.hubHealth(d, status, reason)}
	}
	if d.health.Is() == status {
		return nil
	}
	e := event.New(event.DeviceHealthEvent, d.home.Location, d.at.Mode)
	e.Health = &event.DeviceHealth{Device: d.home.ID, Hub: d.home.Hub, Status: status, Reason: reason, Source: "CLOUD"}
	d.health = Health{status, reason, e.Time}
	switch {
	case d.home.Type == home.Hub:
		e.Health.Source, e.Health.Reason = "HUB", event.NoReason
		if status == event.Offline {
			e.Health.Reason = event.HubDisconnected
		}
	case !d.home.Hub.IsZero():
		e.Health.Source = "HUBDEVICE"
	}
	events := []*event.Event{e}
	if d.home.Type != home.Hub {
		return events
	}
	events = append(events, s.hubHealth(d, status, reason))
	for _, other := range d.at.devices {
		switch {
		case other.home.Hub != d.home.ID:
		case status == event.Offline && other.health.Is() == event.Online:
			events = append(events, s.turn(other, event.Offline, event.HubDisconnected)...)
		case status == event.Online && other.health.Reason == event.HubDisconnected:
			events = append(events, s.turn(other, event.Online, event.NoReason)...)
		}
	}
	return events
}

func (s *Shard) hubHealth(d *device, status, reason string) *event.Event {
	e := event.New(event.HubHealthEvent, d.home.Location, d.at.Mode)
	e.Hub = &event.HubHealth{Hub: d.home.ID, Status: status, Reason: reason}
	return e
}

// heard notes that a device spoke, and returns what happens before what it said: who speaks is
// online, unless that is what it denies. The caller holds mu and journals that.
func (s *Shard) heard(d *device, r Report) []*event.Event {
	d.heard = s.now()
	if r.Capability == healthCheck && r.Value == `"offline"` {
		return s.turn(d, event.Offline, event.NoReason)
	}
	if d.health.Is() != event.Offline {
		return nil
	}
	return s.turn(d, event.Online, event.NoReason)
}

// cadence returns how long the device may be silent, 0 for ever: what it reports of itself,
// or else what it was made with.
func (d *device) cadence() time.Duration {
	seconds := d.home.CheckInterval
	if i := d.find("main", healthCheck, checkInterval); i >= 0 {
		if n, err := strconv.Atoi(string(d.state[i].Value)); err == nil {
			seconds = n
		}
	}
	return time.Duration(seconds) * time.Second
}

// watch sees to it that the device is taken for offline when it falls silent from now on:
// before a start hark was deaf. The caller holds mu.
func (s *Shard) watch(d *device) {
	if d.watched {
		return
	}
	if cadence := d.cadence(); cadence > 0 {
		d.heard = s.now()
		s.lookAt(d, d.heard.Add(cadence))
	}
}

// lookAt looks at a time whether the device fell silent. The caller holds mu.
func (s *Shard) lookAt(d *device, at time.Time) {
	d.watched = true
	s.alarm(at, func(now time.Time) ([]records.Write, []*event.Event) {
		d.watched = false
		cadence := d.cadence()
		if cadence <= 0 || s.devices[d.home.ID] != d {
			return nil, nil
		}
		if silent := d.heard.Add(cadence); now.Before(silent) {
			s.lookAt(d, silent)
			return nil, nil
		}
		s.log.Info("device fell silent", "device", d.home.ID, "label", d.home.Label, "expectedEvery", cadence)
		if d.home.Type == home.Hub {
			return nil, s.turn(d, event.Offline, event.Inactive)
		}
		return nil, s.turn(d, event.Offline, event.ServiceUnavailable)
	})
}
