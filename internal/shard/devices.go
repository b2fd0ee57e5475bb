package shard

import (
	"context"
	"slices"
	"time"

	"hark/internal/home"
	"hark/internal/id"
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
	if draft.Label == "" || len(draft.Label) > maxLabel {
		return nil, problem.Field("label", "SizeError", "has %d characters; it has 1 to %d", len(draft.Label), maxLabel)
	}
	created := draft
	created.ID = id.New[id.Device]()
	created.Created = time.Now().UTC().Truncate(time.Millisecond)
	d := &device{home: &created, state: slices.Clone(state), lastReport: created.Created}
	for i := range d.state {
		d.state[i].Time = created.Created
	}
	return &created, s.commit(ctx, func() ([]records.Write, error) {
		l := s.locations[draft.Location]
		if l == nil || !p.Sees(draft.Location) {
			return nil, noLocation(draft.Location)
		}
		if _, ok := l.home.Room(draft.Room); !ok && !draft.Room.IsZero() {
			return nil, noRoom(l.home, draft.Room)
		}
		d.at = l
		s.devices[created.ID], l.devices[created.ID] = d, d
		return []records.Write{
			{Kind: kindState, ID: created.ID.String(), Value: stateRecord{Attributes: d.state}},
			{Kind: kindDevice, ID: created.ID.String(), Value: created},
		}, nil
	})
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
	for at, d := range s.devices {
		if _, err := s.device(p, at, "r"); err == nil && keep(d.home) {
			list = append(list, d.home)
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

// UpdateDevice replaces the device by what change makes of a copy of it.
func (s *Shard) UpdateDevice(ctx context.Context, p scope.Principal, device id.Device, change func(*home.Device) error) (updated *home.Device, err error) {
	err = s.commit(ctx, func() ([]records.Write, error) {
		d, err := s.device(p, device, "w")
		if err != nil {
			return nil, err
		}
		changed := *d.home
		if err := change(&changed); err != nil {
			return nil, err
		}
		if changed.Label == "" || len(changed.Label) > maxLabel {
			return nil, problem.Field("label", "SizeError", "has %d characters; it has 1 to %d", len(changed.Label), maxLabel)
		}
		if _, ok := d.at.home.Room(changed.Room); !ok && !changed.Room.IsZero() {
			return nil, noRoom(d.at.home, changed.Room)
		}
		d.home, updated = &changed, &changed
		return []records.Write{{Kind: kindDevice, ID: changed.ID.String(), Value: changed}}, nil
	})
	return updated, err
}

// DeleteDevice forgets the device. What it reported before stays in the journal and is still
// delivered; subscriptions to it match nothing from now on.
func (s *Shard) DeleteDevice(ctx context.Context, p scope.Principal, device id.Device) error {
	return s.commit(ctx, func() ([]records.Write, error) {
		d, err := s.device(p, device, "w")
		if err != nil {
			return nil, err
		}
		delete(s.devices, device)
		delete(d.at.devices, device)
		return []records.Write{{Kind: kindState, ID: device.String()}, {Kind: kindDevice, ID: device.String()}}, nil
	})
}
