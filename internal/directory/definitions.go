package directory

import (
	"context"
	"slices"
	"strings"

	"hark/internal/capability"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// PutCapability adds or replaces a custom capability.
func (d *Directory) PutCapability(ctx context.Context, p scope.Principal, c *capability.Capability, replace bool) error {
	if err := p.Require("w:customcapability"); err != nil {
		return err
	}
	if err := capability.CheckCustom(c); err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if _, exists := d.Capabilities.Capability(c.ID); exists != replace {
		if exists {
			return problem.New(problem.Conflict, "There is a capability %s already; PUT /capabilities/%s/%d replaces it.", c.ID, c.ID, c.Version).At("id")
		}
		return problem.New(problem.NotFound, "There is no capability %s to replace; POST /capabilities adds it.", c.ID).At("id")
	}
	if err := d.records.Write(ctx, records.Write{Kind: kindCapability, ID: c.ID, Value: c}); err != nil {
		return unavailable(err)
	}
	d.Capabilities.Put(c)
	return nil
}

// DeleteCapability forgets a custom capability.
func (d *Directory) DeleteCapability(ctx context.Context, p scope.Principal, name string) error {
	if err := p.Require("w:customcapability"); err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if _, ok := d.Capabilities.Capability(name); !ok || capability.Namespace(name) == "st" {
		return problem.New(problem.NotFound, "There is no custom capability %.140q; standard ones cannot be deleted.", name).At("capabilityId")
	}
	if err := d.records.Write(ctx, records.Write{Kind: kindCapability, ID: name}); err != nil {
		return unavailable(err)
	}
	d.Capabilities.Remove(name)
	return nil
}

// Profile returns the device profile.
func (d *Directory) Profile(p scope.Principal, profile id.Profile) (*home.Profile, error) {
	if err := p.Require("r:deviceprofiles", "r:devices:*"); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if found, ok := d.profiles[profile]; ok {
		return found, nil
	}
	return nil, problem.New(problem.NotFound, "There is no device profile with the id %s on this hark; POST /deviceprofiles makes one.", profile).At("deviceProfileId")
}

// Profiles returns all device profiles, sorted by name.
func (d *Directory) Profiles(p scope.Principal) ([]*home.Profile, error) {
	if err := p.Require("r:deviceprofiles", "r:devices:*"); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	list := make([]*home.Profile, 0, len(d.profiles))
	for _, profile := range d.profiles {
		list = append(list, profile)
	}
	slices.SortFunc(list, func(a, b *home.Profile) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// CreateProfile adds a device profile whose components [Directory.CheckComponents] accepts.
func (d *Directory) CreateProfile(ctx context.Context, p scope.Principal, profile *home.Profile) (*home.Profile, error) {
	if err := p.Require("w:deviceprofiles"); err != nil {
		return nil, err
	}
	if err := d.CheckComponents(profile.Components); err != nil {
		return nil, err
	}
	created := *profile
	created.ID, created.Status = id.New[id.Profile](), "PUBLISHED"
	if err := d.records.Write(ctx, records.Write{Kind: kindProfile, ID: created.ID.String(), Value: created}); err != nil {
		return nil, unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.profiles[created.ID] = &created
	return &created, nil
}

// DeleteProfile forgets a device profile; devices made by it keep their components.
func (d *Directory) DeleteProfile(ctx context.Context, p scope.Principal, profile id.Profile) error {
	if err := p.Require("w:deviceprofiles"); err != nil {
		return err
	}
	if _, err := d.Profile(p, profile); err != nil {
		return err
	}
	if err := d.records.Write(ctx, records.Write{Kind: kindProfile, ID: profile.String()}); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.profiles, profile)
	return nil
}

// CheckComponents reports what is wrong with a device's components, and fills in what the
// API always shows: a version for each capability and a category for each component.
func (d *Directory) CheckComponents(components []home.Component) error {
	if len(components) == 0 {
		return problem.Field("components", "NotEmptyError", "is empty; a device has at least the component \"main\"")
	}
	for i := range components {
		c := &components[i]
		if c.ID == "" {
			return problem.Field("components", "NotEmptyError", "a component has no id")
		}
		for j := range c.Capabilities {
			ref := &c.Capabilities[j]
			ref.Version = max(ref.Version, 1)
			if _, ok := d.Capabilities.Capability(ref.ID); !ok {
				return problem.Field("components."+c.ID+".capabilities", "PatternError",
					"%.140q is not a capability that hark knows; GET /capabilities lists them, POST /capabilities adds one", ref.ID)
			}
		}
		if len(c.Categories) == 0 {
			c.Categories = []home.Category{{Name: "Others"}}
		}
		for j := range c.Categories {
			if c.Categories[j].Type == "" {
				c.Categories[j].Type = "manufacturer"
			}
		}
	}
	return nil
}
