package httpapi

import (
	"bytes"
	"encoding/json"
	"time"

	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
)

// locationView is a single location as the API shows it (reference 7.3).
type locationView struct {
	LocationID       id.Location       `json:"locationId"`
	Name             string            `json:"name"`
	CountryCode      string            `json:"countryCode"`
	Latitude         float64           `json:"latitude"`
	Longitude        float64           `json:"longitude"`
	RegionRadius     int               `json:"regionRadius"`
	TemperatureScale string            `json:"temperatureScale"`
	TimeZoneID       string            `json:"timeZoneId"`
	Locale           string            `json:"locale"`
	BackgroundImage  string            `json:"backgroundImage"`
	Additional       map[string]string `json:"additionalProperties"`
	Allowed          []string          `json:"allowed"`
	Created          time.Time         `json:"created"`
	LastModified     time.Time         `json:"lastModified"`
}

func viewLocation(l *home.Location) locationView {
	return locationView{
		LocationID: l.ID, Name: l.Name, CountryCode: l.CountryCode, Latitude: l.Latitude, Longitude: l.Longitude, RegionRadius: l.RegionRadius,
		TemperatureScale: l.TemperatureScale, TimeZoneID: l.TimeZoneID, Locale: l.Locale, BackgroundImage: l.BackgroundImage,
		Additional: map[string]string{}, Allowed: []string{}, Created: l.Created, LastModified: l.LastModified,
	}
}

// locationBody is a location as requests bring it; what is absent stays as it is.
type locationBody struct {
	Name             *string  `json:"name"`
	CountryCode      *string  `json:"countryCode"`
	Latitude         *float64 `json:"latitude"`
	Longitude        *float64 `json:"longitude"`
	RegionRadius     *int     `json:"regionRadius"`
	TemperatureScale *string  `json:"temperatureScale"`
	TimeZoneID       *string  `json:"timeZoneId"`
	Locale           *string  `json:"locale"`
	BackgroundImage  *string  `json:"backgroundImage"`
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (b *locationBody) apply(l *home.Location) {
	set(&l.Name, b.Name)
	set(&l.CountryCode, b.CountryCode)
	set(&l.Latitude, b.Latitude)
	set(&l.Longitude, b.Longitude)
	set(&l.RegionRadius, b.RegionRadius)
	set(&l.TemperatureScale, b.TemperatureScale)
	set(&l.TimeZoneID, b.TimeZoneID)
	set(&l.Locale, b.Locale)
	set(&l.BackgroundImage, b.BackgroundImage)
}

func (c *call) locationID() (id.Location, error) { return pathID[id.Location](c, "location") }

func (c *call) listLocations() (any, error) {
	return paged(c, c.shard.Locations(c.principal), func(l *home.Location) any {
		return map[string]any{"locationId": l.ID, "name": l.Name, "allowed": []string{}}
	})
}

func (c *call) createLocation() (any, error) {
	var body locationBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var draft home.Location
	body.apply(&draft)
	l, err := c.shard.CreateLocation(c.Context(), c.principal, draft)
	if err != nil {
		return nil, err
	}
	return viewLocation(l), nil
}

// location returns the location in the path.
func (c *call) location() (*home.Location, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	return c.shard.Location(c.principal, at)
}

func (c *call) getLocation() (any, error) {
	l, err := c.location()
	if err != nil {
		return nil, err
	}
	return viewLocation(l), nil
}

func (c *call) updateLocation() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	var body locationBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	l, err := c.shard.UpdateLocation(c.Context(), c.principal, at, func(l *home.Location) error { body.apply(l); return nil })
	if err != nil {
		return nil, err
	}
	return viewLocation(l), nil
}

func (c *call) deleteLocation() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	return nothing{}, c.shard.DeleteLocation(c.Context(), c.principal, at)
}

func (c *call) listModes() (any, error) {
	l, err := c.location()
	if err != nil {
		return nil, err
	}
	return paged(c, l.Modes, func(m home.Mode) any { return m })
}

func (c *call) currentMode() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	return c.shard.Mode(c.principal, at)
}

func (c *call) setMode() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	var body struct {
		ModeID id.Mode `json:"modeId"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.shard.SetMode(c.Context(), c.principal, at, body.ModeID)
}

// armView is the arm state of a location. The platform documents no endpoint for it: this one
// is hark's own (reference 7.11).
type armView struct {
	ArmState string `json:"armState"`
}

func (c *call) getArmState() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	state, err := c.shard.ArmState(c.principal, at)
	return armView{state}, err
}

func (c *call) setArmState() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	var body struct {
		armView
		Arguments json.RawMessage `json:"optionalArguments"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(body.Arguments); len(trimmed) > 0 && trimmed[0] != '{' {
		return nil, problem.Field("optionalArguments", "PatternError", "it is no object")
	}
	return body.armView, c.shard.SetArmState(c.Context(), c.principal, at, event.ArmState{State: body.ArmState, Arguments: body.Arguments})
}

// label reads the body of a mode's create or rename.
func (c *call) label() (string, error) {
	var body struct {
		Label string `json:"label"`
	}
	err := c.decode(&body)
	return body.Label, err
}

func (c *call) createMode() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	label, err := c.label()
	if err != nil {
		return nil, err
	}
	return c.shard.CreateMode(c.Context(), c.principal, at, label)
}

// modeIDs returns the location and mode in the path.
func (c *call) modeIDs() (id.Location, id.Mode, error) {
	at, err := c.locationID()
	if err != nil {
		return at, id.Mode{}, err
	}
	mode, err := pathID[id.Mode](c, "mode")
	return at, mode, err
}

func (c *call) renameMode() (any, error) {
	at, mode, err := c.modeIDs()
	if err != nil {
		return nil, err
	}
	label, err := c.label()
	if err != nil {
		return nil, err
	}
	return c.shard.RenameMode(c.Context(), c.principal, at, mode, label)
}

func (c *call) deleteMode() (any, error) {
	at, mode, err := c.modeIDs()
	if err != nil {
		return nil, err
	}
	return nothing{}, c.shard.DeleteMode(c.Context(), c.principal, at, mode)
}

func (c *call) listRooms() (any, error) {
	l, err := c.location()
	if err != nil {
		return nil, err
	}
	return paged(c, l.Rooms, func(r home.Room) any { return r })
}

type roomBody struct {
	Name            *string `json:"name"`
	BackgroundImage *string `json:"backgroundImage"`
}

func (c *call) createRoom() (any, error) {
	at, err := c.locationID()
	if err != nil {
		return nil, err
	}
	return c.putRoom(home.Room{Location: at})
}

func (c *call) putRoom(room home.Room) (any, error) {
	var body roomBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	set(&room.Name, body.Name)
	set(&room.BackgroundImage, body.BackgroundImage)
	return c.shard.PutRoom(c.Context(), c.principal, room)
}

// room returns the room in the path, which is in the location in the path.
func (c *call) room() (home.Room, error) {
	room, err := pathID[id.Room](c, "room")
	if err != nil {
		return home.Room{}, err
	}
	return c.shard.FindRoom(c.principal, room)
}

func (c *call) getRoom() (any, error) { return c.room() }

func (c *call) updateRoom() (any, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	return c.putRoom(room)
}

func (c *call) deleteRoom() (any, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	return nothing{}, c.shard.DeleteRoom(c.Context(), c.principal, room.Location, room.ID)
}

func (c *call) roomDevices() (any, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	return c.devices(func(d *home.Device) bool { return d.Room == room.ID })
}
