package hark

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hark/internal/directory"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/scope"
)

// owner is the server itself, which may do everything.
var owner = scope.Principal{Name: "hark", Scopes: scope.All}

// furniture is the demo home: rooms with their devices. Those with a battery are connected
// through the hub.
var furniture = []struct {
	room    string
	devices []struct{ label, prototype string }
}{
	{"Hall", []struct{ label, prototype string }{
		{"Hub", "VIRTUAL_HUB"},
		{"Front door", "VIRTUAL_CONTACT_SENSOR"}, {"Front door lock", "VIRTUAL_LOCK"}, {"Hall motion", "VIRTUAL_MOTION_SENSOR"}, {"Alex's phone", "VIRTUAL_PRESENCE_SENSOR"},
	}},
	{"Living room", []struct{ label, prototype string }{
		{"Floor lamp", "VIRTUAL_SWITCH"}, {"Ceiling light", "VIRTUAL_DIMMER_SWITCH"}, {"Thermostat", "VIRTUAL_THERMOSTAT"}, {"Scene button", "VIRTUAL_BUTTON"},
	}},
	{"Bedroom", []struct{ label, prototype string }{
		{"Bedside bulb", "VIRTUAL_RGBW_BULB"}, {"Window sensor", "VIRTUAL_MULTI_SENSOR"}, {"Smoke detector", "VIRTUAL_SMOKE_DETECTOR"},
	}},
	{"Kitchen", []struct{ label, prototype string }{
		{"Sink leak sensor", "VIRTUAL_WATER_SENSOR"},
	}},
}

// furnish makes the demo home, unless there is a location already.
func (s *Server) furnish(ctx context.Context) error {
	if len(s.shard.Locations(owner)) > 0 {
		return nil
	}
	l, err := s.shard.CreateLocation(ctx, owner, home.Location{Name: "Home"})
	if err != nil {
		return err
	}
	var hub id.Device
	for _, f := range furniture {
		room, err := s.shard.PutRoom(ctx, owner, home.Room{Location: l.ID, Name: f.room})
		if err != nil {
			return err
		}
		for _, d := range f.devices {
			p, _ := home.FindPrototype(d.prototype)
			draft := home.Device{Name: d.prototype, Label: d.label, Type: p.Type(), Location: l.ID, Room: room.ID,
				Manufacturer: "hark", Presentation: d.prototype, Components: p.Components()}
			if draft.HasCapability("battery") {
				draft.Hub = hub
			}
			made, err := s.shard.CreateDevice(ctx, owner, draft, p.State())
			if err != nil {
				return err
			}
			if made.Type == home.Hub {
				hub = made.ID
			}
		}
	}
	return nil
}

// Home returns the oldest location and the number of its devices.
func (s *Server) Home() (location *home.Location, devices int) {
	locations := s.shard.Locations(owner)
	if len(locations) == 0 {
		return nil, 0
	}
	return locations[0], len(s.shard.Devices(owner, func(d *home.Device) bool { return d.Location == locations[0].ID }))
}

// OwnerToken returns a personal access token with all scopes, the same at each start: dev
// keeps it in a file of the data directory, since whoever can read that owns the home.
func (s *Server) OwnerToken(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "dev-token")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if token := strings.TrimSpace(string(b)); token != "" {
		t, err := s.directory.Token(token, time.Now(), func() []id.InstalledApp { return nil })
		if err == nil && t.Kind == directory.Personal {
			return token, nil
		}
	}
	token, _, err := s.directory.CreatePersonal(ctx, owner, "hark dev", nil, 0)
	if err != nil {
		return "", err
	}
	return token, os.WriteFile(path, []byte(token+"\n"), 0o600)
}
