package httpapi

import (
	"cmp"

	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
)

func (c *call) listVirtualDevices() (any, error) {
	return c.devices(func(d *home.Device) bool { return d.Type == home.Virtual })
}

// virtualBody is a request for a virtual device (reference 7.2). The owner is a location;
// a USER owns through the oldest location.
type virtualBody struct {
	Name  string `json:"name"`
	Owner struct {
		OwnerType string `json:"ownerType"`
		OwnerID   string `json:"ownerId"`
	} `json:"owner"`
	RoomID          id.Room       `json:"roomId"`
	Prototype       string        `json:"prototype"`
	DeviceProfileID id.Profile    `json:"deviceProfileId"`
	DeviceProfile   *home.Profile `json:"deviceProfile"`
	HubID           id.Device     `json:"hubId"`
	CheckInterval   int           `json:"checkInterval"` // hark's own: seconds of silence after which it is offline
}

func (c *call) ownerLocation(b *virtualBody) (id.Location, error) {
	if b.Owner.OwnerType != "USER" {
		at, err := id.Parse[id.Location](b.Owner.OwnerID)
		if err != nil {
			return at, problem.Field("owner.ownerId", "PatternError", "%v", err)
		}
		return at, nil
	}
	locations := c.shard.Locations(c.principal)
	if len(locations) == 0 {
		return id.Location{}, problem.Field("owner", "ConstraintViolationError", "there is no location yet; POST /locations makes one")
	}
	return locations[0].ID, nil
}

func (c *call) createStandardDevice() (any, error) {
	var body virtualBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	name := cmp.Or(body.Prototype, home.DefaultPrototype)
	prototype, ok := home.FindPrototype(name)
	if !ok {
		return nil, problem.Field("prototype", "PatternError", "%.60q is not one of %v", name, home.PrototypeNames())
	}
	at, err := c.ownerLocation(&body)
	if err != nil {
		return nil, err
	}
	d, err := c.shard.CreateDevice(c.Context(), c.principal, home.Device{
		Name: cmp.Or(body.Name, name), Label: cmp.Or(body.Name, name), Type: prototype.Type(), Location: at, Room: body.RoomID,
		Manufacturer: "hark", Presentation: name, Components: prototype.Components(), Hub: body.HubID, CheckInterval: body.CheckInterval,
	}, prototype.State())
	if err != nil {
		return nil, err
	}
	return c.viewDevice(d), nil
}

func (c *call) createVirtualDevice() (any, error) {
	var body virtualBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	profile := body.DeviceProfile
	switch {
	case profile != nil:
		if err := c.directory.CheckComponents(profile.Components); err != nil {
			return nil, err
		}
	case !body.DeviceProfileID.IsZero():
		var err error
		if profile, err = c.directory.Profile(c.principal, body.DeviceProfileID); err != nil {
			return nil, err
		}
	default:
		return nil, problem.Field("deviceProfileId", "NotNullError", "is missing, and so is deviceProfile; POST /virtualdevices/prototypes makes a device of a standard kind")
	}
	at, err := c.ownerLocation(&body)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(body.Name, profile.Name, "Virtual device")
	d, err := c.shard.CreateDevice(c.Context(), c.principal, home.Device{
		Name: name, Label: name, Type: home.Virtual, Location: at, Room: body.RoomID,
		Manufacturer: "hark", Presentation: cmp.Or(profile.Name, name), Profile: profile.ID, Components: profile.Components,
		Hub: body.HubID, CheckInterval: body.CheckInterval,
	}, nil)
	if err != nil {
		return nil, err
	}
	return c.viewDevice(d), nil
}

func (c *call) listProfiles() (any, error) {
	list, err := c.directory.Profiles(c.principal)
	if err != nil {
		return nil, err
	}
	return paged(c, list, func(p *home.Profile) any { return p })
}

func (c *call) createProfile() (any, error) {
	var body home.Profile
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.directory.CreateProfile(c.Context(), c.principal, &body)
}

func (c *call) getProfile() (any, error) {
	profile, err := pathID[id.Profile](c, "profile")
	if err != nil {
		return nil, err
	}
	return c.directory.Profile(c.principal, profile)
}

func (c *call) deleteProfile() (any, error) {
	profile, err := pathID[id.Profile](c, "profile")
	if err != nil {
		return nil, err
	}
	return nothing{}, c.directory.DeleteProfile(c.Context(), c.principal, profile)
}
