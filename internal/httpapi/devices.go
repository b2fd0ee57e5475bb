package httpapi

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"hark/internal/capability"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/shard"
)

type profileRef struct {
	ID string `json:"id"`
}

type appBlock struct {
	InstalledAppID id.InstalledApp `json:"installedAppId"`
	ExternalID     string          `json:"externalId"`
	Profile        profileRef      `json:"profile"`
}

type virtualBlock struct {
	Name           string `json:"name"`
	ExecutingLocal bool   `json:"executingLocally"`
}

// hubBlock is what clients want to know of a hub: pysmartthings fails without it.
type hubBlock struct {
	FirmwareVersion string            `json:"firmwareVersion"`
	HubData         map[string]string `json:"hubData"`
}

type healthView struct {
	DeviceID    id.Device `json:"deviceId,omitzero"`
	State       string    `json:"state"`
	Reason      string    `json:"reason,omitempty"` // hark's own
	LastUpdated time.Time `json:"lastUpdatedDate"`
}

type componentView struct {
	home.Component
	Status statusView `json:"status,omitempty"`
}

// deviceView is a device as the API shows it (reference 7.1).
type deviceView struct {
	DeviceID         id.Device       `json:"deviceId"`
	Name             string          `json:"name"`
	Label            string          `json:"label"`
	ManufacturerName string          `json:"manufacturerName"`
	PresentationID   string          `json:"presentationId"`
	ManufacturerCode string          `json:"deviceManufacturerCode"`
	LocationID       id.Location     `json:"locationId"`
	OwnerID          string          `json:"ownerId"`
	RoomID           id.Room         `json:"roomId,omitzero"`
	Components       []componentView `json:"components"`
	CreateTime       time.Time       `json:"createTime"`
	Profile          *profileRef     `json:"profile,omitempty"`
	Virtual          *virtualBlock   `json:"virtual,omitempty"`
	App              *appBlock       `json:"app,omitempty"`
	Hub              *hubBlock       `json:"hub,omitempty"`
	HubID            id.Device       `json:"hubId,omitzero"`
	CheckInterval    int             `json:"checkInterval,omitempty"` // hark's own
	Type             string          `json:"type"`
	RestrictionTier  int             `json:"restrictionTier"`
	Allowed          []string        `json:"allowed"`
	ExecutionContext string          `json:"executionContext"`
	HealthState      *healthView     `json:"healthState,omitempty"`
}

func (c *call) viewDevice(d *home.Device) deviceView {
	v := deviceView{
		DeviceID: d.ID, Name: d.Name, Label: d.Label, ManufacturerName: d.Manufacturer, PresentationID: d.Presentation,
		LocationID: d.Location, OwnerID: c.directory.Account().String(), RoomID: d.Room, CreateTime: d.Created, Type: d.Type,
		Allowed: []string{}, ExecutionContext: "CLOUD", HubID: d.Hub, CheckInterval: d.CheckInterval,
	}
	for _, component := range d.Components {
		v.Components = append(v.Components, componentView{Component: component})
	}
	if !d.Profile.IsZero() {
		v.Profile = &profileRef{d.Profile.String()}
	}
	switch d.Type {
	case home.Virtual:
		v.Virtual = &virtualBlock{Name: d.Name}
	case home.Hub:
		v.Hub = &hubBlock{"hark", map[string]string{"hardwareType": "V3_HUB"}}
	case home.EndpointApp:
		v.App = &appBlock{d.Owner, d.ExternalID, profileRef{d.Profile.String()}}
	}
	return v
}

// attributeView is an attribute's last report.
type attributeView struct {
	Value     capability.Value `json:"value"`
	Unit      string           `json:"unit,omitempty"`
	Data      capability.Value `json:"data,omitzero"`
	Timestamp *time.Time       `json:"timestamp,omitempty"`
}

// statusView maps capability and attribute to the last report.
type statusView map[string]map[string]attributeView

// viewStatus returns each component's status: every attribute of its capabilities, with a
// null value while the device has not reported it.
func (c *call) viewStatus(d *home.Device, state []home.Attribute) map[string]statusView {
	components := map[string]statusView{}
	for _, component := range d.Components {
		status := statusView{}
		for _, ref := range component.Capabilities {
			status[ref.ID] = map[string]attributeView{}
			if definition, ok := c.directory.Capabilities.Capability(ref.ID); ok {
				for name := range definition.Attributes {
					status[ref.ID][name] = attributeView{}
				}
			}
		}
		components[component.ID] = status
	}
	for _, a := range state {
		if of := components[a.Component][a.Capability]; of != nil {
			of[a.Attribute] = attributeView{a.Value, a.Unit, a.Data, &a.Time}
		}
	}
	return components
}

// status returns the device in the path and its components' status.
func (c *call) status() (*home.Device, map[string]statusView, error) {
	d, err := c.device("r")
	if err != nil {
		return nil, nil, err
	}
	state, _, err := c.shard.State(c.principal, d.ID)
	if err != nil {
		return nil, nil, err
	}
	return d, c.viewStatus(d, state), nil
}

func (c *call) device(verb string) (*home.Device, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	return c.shard.Device(c.principal, device, verb)
}

func (c *call) listDevices() (any, error) {
	return c.devices(func(*home.Device) bool { return true })
}

// devices answers the devices that keep and the request's filters accept.
func (c *call) devices(keep func(*home.Device) bool) (any, error) {
	capabilities, locations, ids, types := c.list("capability"), c.list("locationId"), c.list("deviceId"), c.list("type")
	installed, anyOf := c.query().Get("installedAppId"), c.query().Get("capabilitiesMode") == "or"
	list := c.shard.Devices(c.principal, func(d *home.Device) bool {
		all, some := true, len(capabilities) == 0
		for _, want := range capabilities {
			has := d.HasCapability(want)
			all, some = all && has, some || has
		}
		return keep(d) && (all || anyOf && some) && wanted(locations, d.Location.String()) && wanted(ids, d.ID.String()) && wanted(types, d.Type) &&
			(installed == "" || d.Owner.String() == installed)
	})
	withStatus, withHealth := c.query().Get("includeStatus") == "true", c.query().Get("includeHealth") == "true"
	return paged(c, list, func(d *home.Device) any {
		v := c.viewDevice(d)
		if !withStatus && !withHealth {
			return v
		}
		state, _, err := c.shard.State(c.principal, d.ID)
		if err != nil { // it was deleted between
			return v
		}
		if withHealth {
			if h, err := c.health(d.ID); err == nil {
				h.DeviceID = id.Device{}
				v.HealthState = &h
			}
		}
		if withStatus {
			status := c.viewStatus(d, state)
			for i := range v.Components {
				v.Components[i].Status = status[v.Components[i].ID]
			}
		}
		return v
	})
}

func (c *call) getDevice() (any, error) {
	d, err := c.device("r")
	if err != nil {
		return nil, err
	}
	return c.viewDevice(d), nil
}

// updateDevice changes a device's label; in hark also its room, location, hub and how long it
// may be silent.
func (c *call) updateDevice() (any, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	var body struct {
		Label         *string      `json:"label"`
		RoomID        *id.Room     `json:"roomId"`
		LocationID    *id.Location `json:"locationId"`
		HubID         *id.Device   `json:"hubId"`
		CheckInterval *int         `json:"checkInterval"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	d, err := c.shard.UpdateDevice(c.Context(), c.principal, device, func(d *home.Device) {
		set(&d.Label, body.Label)
		set(&d.Room, body.RoomID)
		set(&d.Location, body.LocationID)
		set(&d.Hub, body.HubID)
		set(&d.CheckInterval, body.CheckInterval)
	})
	if err != nil {
		return nil, err
	}
	return c.viewDevice(d), nil
}

func (c *call) deleteDevice() (any, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	return nothing{}, c.shard.DeleteDevice(c.Context(), c.principal, device)
}

// createDevice makes a device that belongs to an installed app (reference 7.1).
func (c *call) createDevice() (any, error) {
	var body struct {
		Label      string      `json:"label"`
		LocationID id.Location `json:"locationId"`
		RoomID     id.Room     `json:"roomId"`
		App        struct {
			ProfileID      id.Profile      `json:"profileId"`
			InstalledAppID id.InstalledApp `json:"installedAppId"`
			ExternalID     string          `json:"externalId"`
		} `json:"app"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.App.ExternalID) > 64 {
		return nil, problem.Field("app.externalId", "SizeError", "has %d characters, the maximum is 64", len(body.App.ExternalID))
	}
	if _, err := c.shard.FindInstalled(c.principal, body.App.InstalledAppID, "w"); err != nil {
		return nil, err
	}
	reader := c.principal
	if reader.IsApp() {
		reader.Scopes = append(slices.Clone(reader.Scopes), "r:deviceprofiles") // an app installs devices of any profile
	}
	profile, err := c.directory.Profile(reader, body.App.ProfileID)
	if err != nil {
		return nil, err
	}
	d, err := c.shard.CreateDevice(c.Context(), c.principal, home.Device{
		Name: profile.Name, Label: cmp.Or(body.Label, profile.Name), Type: home.EndpointApp, Location: body.LocationID, Room: body.RoomID,
		Manufacturer: "hark", Presentation: profile.ID.String(), Profile: profile.ID, Components: profile.Components,
		Owner: body.App.InstalledAppID, ExternalID: body.App.ExternalID,
	}, nil)
	if err != nil {
		return nil, err
	}
	return c.viewDevice(d), nil
}

func (c *call) deviceStatus() (any, error) {
	_, components, err := c.status()
	if err != nil {
		return nil, err
	}
	return map[string]any{"components": components}, nil
}

func (c *call) componentStatus() (any, error) {
	d, components, err := c.status()
	if err != nil {
		return nil, err
	}
	status, ok := components[c.PathValue("component")]
	if !ok {
		return nil, problem.New(problem.NotFound, "The device %s has no component %.60q.", d.Label, c.PathValue("component")).At("componentId")
	}
	return status, nil
}

func (c *call) capabilityStatus() (any, error) {
	d, components, err := c.status()
	if err != nil {
		return nil, err
	}
	status, ok := components[c.PathValue("component")][c.PathValue("capability")]
	if !ok {
		return nil, problem.New(problem.NotFound, "The device %s has no capability %.140q in a component %.60q.", d.Label, c.PathValue("capability"), c.PathValue("component")).At("capabilityId")
	}
	return status, nil
}

func (c *call) deviceHealth() (any, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	return c.health(device)
}

func (c *call) health(device id.Device) (healthView, error) {
	h, last, err := c.shard.Health(c.principal, device)
	if h.Since.After(last) {
		last = h.Since
	}
	return healthView{device, h.Status, h.Reason, last}, err
}

// setHealth says how a device or hub is, as its driver would: hark's own.
func (c *call) setHealth() (any, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	var body struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := c.shard.SetHealth(c.Context(), c.principal, device, body.State, body.Reason); err != nil {
		return nil, err
	}
	return c.health(device)
}

// getHub answers what the CLI asks of a hub (reference 7.10).
func (c *call) getHub() (any, error) {
	d, err := c.device("r")
	if err != nil {
		return nil, err
	}
	if d.Type != home.Hub {
		return nil, problem.New(problem.NotFound, "%s is a device of type %s, not a hub.", d.Label, d.Type).At("hubId")
	}
	h, err := c.health(d.ID)
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": d.ID, "name": d.Label, "eui": "", "owner": c.directory.Account().String(), "serialNumber": "", "firmwareVersion": "hark",
		"locationId": d.Location, "state": h.State}, nil
}

// maxCommands bounds one request (reference 8).
const maxCommands = 10

type commandBody struct {
	Component   string             `json:"component"`
	ComponentID string             `json:"componentId"` // what some clients call it
	Capability  string             `json:"capability"`
	Command     string             `json:"command"`
	Arguments   []capability.Value `json:"arguments"`
}

// executeCommands takes {"commands": [...]} and, as some clients send it, a bare array.
func (c *call) executeCommands() (any, error) {
	device, err := pathID[id.Device](c, "device")
	if err != nil {
		return nil, err
	}
	b, err := c.bytes(maxBody)
	if err != nil {
		return nil, err
	}
	var list []commandBody
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '[' {
		err = decode(b, &list)
	} else {
		var body struct {
			Commands []commandBody `json:"commands"`
		}
		err = decode(b, &body)
		list = body.Commands
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > maxCommands {
		return nil, problem.Field("commands", "SizeError", "has %d entries; a request has 1 to %d", len(list), maxCommands)
	}
	commands := make([]shard.Command, len(list))
	for i, l := range list {
		commands[i] = shard.Command{Component: cmp.Or(l.Component, l.ComponentID), Capability: l.Capability, Command: l.Command, Arguments: l.Arguments}
	}
	results, err := c.shard.Execute(c.Context(), c.principal, device, commands)
	return map[string]any{"results": results}, err
}
