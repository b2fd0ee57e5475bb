package shard

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// maxLabel is the longest name or label of a device.
const maxLabel = 256

// CreateDevice adds a device whose components the directory has checked, with what it
// reports at first; that is its state, not an event.
func (s *Shard) CreateDevice(ctx context.Context, p scope.Principal, draft home.Device, state []home.Attribute) (*home.Device, error) {
	if !p.IsApp() || draft.Owner != p.InstalledApp {
		if err := p.Require("w:devices:*"); err != nil {
			return nil, err
		}
	}
	created := draft
	created.ID = id.New[id.Device]()
	created.Created = time.Now().UTC().Truncate(time.Millisecond)
	d := &device{home: &created, state: slices.Clone(state), lastReport: created.Created}
	for i := range d.state {
		d.state[i].Time = created.Created
	}
	return &created, s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		l := s.locations[draft.Location]
		if l == nil || !p.Sees(draft.Location) {
			return nil, nil, noLocation(draft.Location)
		}
		if err := s.checkDevice(l, &created); err != nil {
			return nil, nil, err
		}
		if !created.Owner.IsZero() {
			owned := 0
			for _, other := range l.devices {
				if other.home.Owner == created.Owner {
					owned++
				}
			}
			if err := limits.Room(s.limits.Devices, owned, "devices of an installed app"); err != nil {
				return nil, nil, err
			}
		}
		d.at = l
		s.devices[created.ID], l.devices[created.ID] = d, d
		s.watch(d)
		return []records.Write{
			{Kind: kindState, ID: created.ID.String(), Value: stateRecord{Attributes: d.state}},
			{Kind: kindDevice, ID: created.ID.String(), Value: created},
		}, []*event.Event{d.lifecycle(p, event.Create, d.createDetail())}, nil
	})
}

// maxCheckInterval is a year, in seconds.
const maxCheckInterval = 365 * 24 * 3600

// checkDevice reports what cannot be about a device that is, or is to be, in the location. The
// caller holds mu.
func (s *Shard) checkDevice(l *location, h *home.Device) error {
	if h.Label == "" || len(h.Label) > maxLabel {
		return problem.Field("label", "SizeError", "has %d characters; it has 1 to %d", len(h.Label), maxLabel)
	}
	if h.CheckInterval < 0 || h.CheckInterval > maxCheckInterval {
		return problem.Field("checkInterval", "SizeError", "is %d; it is a number of seconds, at most a year, and 0 is for ever", h.CheckInterval)
	}
	if _, ok := l.home.Room(h.Room); !ok && !h.Room.IsZero() {
		return noRoom(l.home, h.Room)
	}
	if hub := l.devices[h.Hub]; !h.Hub.IsZero() && (hub == nil || hub.home.Type != home.Hub) {
		return problem.Field("hubId", "ConstraintViolationError", "%s has no hub with the id %s", l.home.Name, h.Hub)
	}
	return nil
}

// Device returns the device to one who may do verb (r, w, x) with it, or whose own it is.
func (s *Shard) Device(p scope.Principal, device id.Device, verb string) (*home.Device, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, err := s.device(p, device, verb)
	if err != nil {
		return nil, err
	}
	return d.home, nil
}

// device is Device for callers who hold mu.
func (s *Shard) device(p scope.Principal, device id.Device, verb string) (*device, error) {
	d := s.devices[device]
	if d != nil && p.IsApp() && d.home.Owner == p.InstalledApp {
		return d, nil
	}
	if err := p.Require(scope.Device(verb, device)); err != nil {
		return nil, err
	}
	if d == nil || !p.Sees(d.home.Location) {
		return nil, noDevice(device)
	}
	return d, nil
}

// Devices returns the devices that the principal may read and keep accepts, oldest first.
func (s *Shard) Devices(p scope.Principal, keep func(*home.Device) bool) []*home.Device {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*home.Device
	for l := range s.seenBy(p) {
		for at, d := range l.devices {
			if _, err := s.device(p, at, "r"); err == nil && keep(d.home) {
				list = append(list, d.home)
			}
		}
	}
	slices.SortFunc(list, func(a, b *home.Device) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return list
}

// State returns what the device last reported, and when it last said anything.
func (s *Shard) State(p scope.Principal, device id.Device) (state []home.Attribute, last time.Time, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, err := s.device(p, device, "r")
	if err != nil {
		return nil, time.Time{}, err
	}
	return slices.Clone(d.state), d.lastReport, nil
}

// UpdateDevice replaces the device by what change makes of a copy of it: its label, room,
// location and the like. In another location it is in no room and behind no hub.
func (s *Shard) UpdateDevice(ctx context.Context, p scope.Principal, device id.Device, change func(*home.Device)) (updated *home.Device, err error) {
	err = s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		d, err := s.device(p, device, "w")
		if err != nil {
			return nil, nil, err
		}
		changed := *d.home
		change(&changed)
		to := s.locations[changed.Location]
		if to == nil || !p.Sees(changed.Location) {
			return nil, nil, noLocation(changed.Location)
		}
		if to != d.at {
			if changed.Room == d.home.Room {
				changed.Room = id.Room{}
			}
			changed.Hub = id.Device{}
		}
		if err := s.checkDevice(to, &changed); err != nil {
			return nil, nil, err
		}
		events := s.move(d, p, to, &changed)
		d.home, updated = &changed, &changed
		s.watch(d)
		return []records.Write{{Kind: kindDevice, ID: changed.ID.String(), Value: changed}}, events, nil
	})
	return updated, err
}

// move puts the device into its new location and returns what its change causes. The caller
// holds mu, and then replaces d.home.
func (s *Shard) move(d *device, p scope.Principal, to *location, changed *home.Device) (events []*event.Event) {
	if to != d.at {
		left := d.lifecycle(p, event.MoveTo, detail{"locationId": changed.Location})
		delete(d.at.devices, changed.ID)
		from := d.home.Location
		d.at, to.devices[changed.ID] = to, d
		arrived := d.lifecycle(p, event.MoveFrom, detail{"locationId": from})
		arrived.Location = changed.Location
		events = append(events, left, arrived)
	} else if changed.Room != d.home.Room {
		events = append(events, d.roomMove(p, changed.Room))
	}
	if changed.Label != d.home.Label {
		e := d.lifecycle(p, event.Update, d.updateDetail(changed.Label))
		e.Location, e.Lifecycle.Name = changed.Location, changed.Label
		events = append(events, e)
	}
	return events
}

// DeleteDevice forgets the device. What it reported before stays in the journal and is still
// delivered; subscriptions to it match nothing from now on.
func (s *Shard) DeleteDevice(ctx context.Context, p scope.Principal, device id.Device) error {
	return s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		d, err := s.device(p, device, "w")
		if err != nil {
			return nil, nil, err
		}
		delete(s.devices, device)
		delete(d.at.devices, device)
		writes := []records.Write{{Kind: kindState, ID: device.String(), Brief: true}, {Kind: kindDevice, ID: device.String()}}
		for _, other := range d.at.devices {
			if other.home.Hub == device {
				alone := *other.home
				alone.Hub = id.Device{}
				other.home = &alone
				writes = append(writes, records.Write{Kind: kindDevice, ID: alone.ID.String(), Value: alone})
			}
		}
		return writes, []*event.Event{d.lifecycle(p, event.Delete, detail{"roomId": d.home.Room, "parentDeviceId": "", "hubId": d.home.Hub})}, nil
	})
}

// detail is the object named after a lifecycle (reference 2.6). What there is none of is an
// empty text or list.
type detail map[string]any

// lifecycle returns the event that something happens to the device. The caller holds mu.
func (d *device) lifecycle(p scope.Principal, kind string, more detail) *event.Event {
	e := event.New(event.DeviceLifecycleEvent, d.home.Location, d.at.Mode)
	content, err := json.Marshal(more)
	if err != nil {
		panic("shard: device lifecycle: " + err.Error()) // every detail marshals
	}
	by := p.Name
	if p.IsApp() {
		by = p.InstalledApp.String()
	}
	e.Lifecycle = &event.DeviceLifecycle{Kind: kind, Device: d.home.ID, Name: d.home.Label, Principal: by, Detail: content}
	return e
}

func (d *device) roomMove(p scope.Principal, to id.Room) *event.Event {
	return d.lifecycle(p, event.RoomMove, detail{"roomIdFrom": d.home.Room, "roomIdTo": to})
}

func (d *device) createDetail() detail {
	categories := []any{}
	for _, c := range d.home.Components {
		for _, category := range c.Categories {
			categories = append(categories, detail{"name": category.Name})
		}
	}
	return detail{"presentationId": d.home.Presentation, "manufacturerName": d.home.Manufacturer, "categories": categories, "parentDeviceId": "", "hubId": d.home.Hub}
}

func (d *device) updateDetail(label string) detail {
	none := detail{"old": "", "new": ""}
	component := detail{"id": "", "label": "", "categories": []any{}, "capabilities": []any{}, "icon": ""}
	return detail{
		"labelDiff": detail{"old": d.home.Label, "new": label}, "iconDiff": none, "componentDiff": detail{"old": component, "new": component},
		"presentationKeysDiff": detail{"previousManufacturerName": "", "newManufacturerName": "", "previousPresentationId": "", "newPresentationId": ""},
	}
}
