package httpapi

import (
	"slices"
	"strconv"

	"hark/internal/capability"
	"hark/internal/problem"
)

type capabilityRef struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	Status  string `json:"status"`
}

func viewCapabilityRef(d *capability.Capability) any { return capabilityRef{d.ID, d.Version, d.Status} }

func (c *call) listCapabilities() (any, error) {
	return paged(c, c.directory.Capabilities.All(), viewCapabilityRef)
}

type namespace struct {
	Name      string `json:"name"`
	OwnerType string `json:"ownerType"`
	OwnerID   string `json:"ownerId"`
}

func (c *call) listNamespaces() (any, error) {
	var list []namespace
	for _, d := range c.directory.Capabilities.All() {
		n := namespace{capability.Namespace(d.ID), "user", c.directory.Account().String()}
		if n.Name == "st" {
			n.OwnerType, n.OwnerID = "system", ""
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list, nil
}

func (c *call) listNamespace() (any, error) {
	var list []*capability.Capability
	for _, d := range c.directory.Capabilities.All() {
		if capability.Namespace(d.ID) == c.PathValue("namespace") {
			list = append(list, d)
		}
	}
	return paged(c, list, viewCapabilityRef)
}

func (c *call) getCapability() (any, error) {
	d, ok := c.directory.Capabilities.Capability(c.PathValue("capability"))
	if !ok {
		return nil, problem.New(problem.NotFound, "There is no capability %.140q on this hark; GET /capabilities lists them, POST /capabilities adds one.", c.PathValue("capability")).
			At("capabilityId")
	}
	if v := c.PathValue("version"); v != "" && v != strconv.Itoa(d.Version) {
		return nil, problem.New(problem.NotFound, "The capability %s has the version %d only, not %.20q.", d.ID, d.Version, v).At("capabilityVersion")
	}
	return d, nil
}

// definition reads a capability; a create without a namespace in its id takes the parameter's.
func (c *call) definition() (*capability.Capability, error) {
	d := &capability.Capability{Version: 1, Status: "proposed", Attributes: map[string]capability.Attribute{}, Commands: map[string]capability.Command{}}
	if err := c.decode(d); err != nil {
		return nil, err
	}
	for name, a := range d.Attributes {
		if a.EnumCommands == nil {
			a.EnumCommands = []capability.EnumCommand{}
			d.Attributes[name] = a
		}
	}
	for name, cmd := range d.Commands {
		cmd.Name = name
		if cmd.Arguments == nil {
			cmd.Arguments = []capability.Argument{}
		}
		d.Commands[name] = cmd
	}
	return d, nil
}

func (c *call) createCapability() (any, error) {
	d, err := c.definition()
	if err != nil {
		return nil, err
	}
	if d.ID == "" && d.Name != "" {
		d.ID = camel(d.Name)
	}
	if ns := c.query().Get("namespace"); capability.Namespace(d.ID) == "st" {
		if ns == "" {
			ns = "hark"
		}
		d.ID = ns + "." + d.ID
	}
	return d, c.directory.PutCapability(c.Context(), c.principal, d, false)
}

func (c *call) updateCapability() (any, error) {
	d, err := c.definition()
	if err != nil {
		return nil, err
	}
	d.ID = c.PathValue("capability")
	return d, c.directory.PutCapability(c.Context(), c.principal, d, true)
}

func (c *call) deleteCapability() (any, error) {
	return nothing{}, c.directory.DeleteCapability(c.Context(), c.principal, c.PathValue("capability"))
}

// camel makes an id of a name: "Water Level" becomes waterLevel.
func camel(name string) string {
	var out []rune
	upper := false
	for _, r := range name {
		switch {
		case r == ' ' || r == '-' || r == '_':
			upper = len(out) > 0
			continue
		case len(out) == 0 && r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		case upper && r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		}
		upper = false
		out = append(out, r)
	}
	return string(out)
}
