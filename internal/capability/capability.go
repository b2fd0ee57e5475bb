// Package capability says what devices can report and do: the standard capabilities with
// their attributes, value types and commands (reference 7.7), and those that a user adds.
// It validates values and arguments. It holds no state of any device.
package capability

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hark/internal/problem"
)

// Capability is a definition in the API's own shape.
type Capability struct {
	ID         string               `json:"id"`
	Version    int                  `json:"version"`
	Status     string               `json:"status"` // proposed, live, deprecated
	Name       string               `json:"name"`
	Ephemeral  bool                 `json:"ephemeral"`
	Attributes map[string]Attribute `json:"attributes"`
	Commands   map[string]Command   `json:"commands"`
}

// Attribute is something that a device reports. Schema describes an object with the
// properties value, unit and data.
type Attribute struct {
	Schema       Schema        `json:"schema"`
	Setter       string        `json:"setter,omitempty"` // the command whose first argument becomes the value
	EnumCommands []EnumCommand `json:"enumCommands"`
}

// EnumCommand says that a command without arguments sets the attribute to a value.
type EnumCommand struct {
	Command string `json:"command"`
	Value   Value  `json:"value"`
}

// Command is something that a device can be told.
type Command struct {
	Name      string     `json:"name"`
	Arguments []Argument `json:"arguments"`
}

// Argument is one argument of a command, by position.
type Argument struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
	Schema   Schema `json:"schema"`
}

//go:embed standard.json
var standardJSON []byte

var standard = sync.OnceValue(func() map[string]*Capability {
	var list []*Capability
	if err := json.Unmarshal(standardJSON, &list); err != nil {
		panic("capability: standard.json: " + err.Error())
	}
	byID := make(map[string]*Capability, len(list))
	for _, c := range list {
		byID[c.ID] = c
	}
	return byID
})

// Registry knows the standard capabilities and those added to it. It is safe for
// concurrent use; what it returns must not be changed.
type Registry struct {
	mu     sync.RWMutex
	custom map[string]*Capability
}

// NewRegistry returns a registry with the standard capabilities.
func NewRegistry() *Registry { return &Registry{custom: map[string]*Capability{}} }

// Capability returns the definition, and whether there is one.
func (r *Registry) Capability(id string) (*Capability, bool) {
	if c, ok := standard()[id]; ok {
		return c, true
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.custom[id]
	return c, ok
}

// All returns every definition, sorted by id.
func (r *Registry) All() []*Capability {
	all := slices.Collect(maps.Values(standard()))
	r.mu.RLock()
	all = slices.AppendSeq(all, maps.Values(r.custom))
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Capability) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Put adds or replaces a custom capability that [CheckCustom] accepts.
func (r *Registry) Put(c *Capability) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.custom[c.ID] = c
}

// Remove forgets a custom capability.
func (r *Registry) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.custom, id)
}

var customID = regexp.MustCompile(`^[a-z0-9]{1,36}\.[a-zA-Z0-9]{1,90}$`)
var memberName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]{0,35}$`)

// Namespace returns the part of a custom capability's id before the dot, or "st" for the
// standard ones.
func Namespace(id string) string {
	if ns, _, ok := strings.Cut(id, "."); ok {
		return ns
	}
	return "st"
}

// CheckCustom reports what is wrong with a definition that a user wants to add.
func CheckCustom(c *Capability) error {
	if !customID.MatchString(c.ID) {
		return problem.Field("id", "PatternError", "%.140q is not namespace.name, such as \"mycompany.waterLevel\"", c.ID)
	}
	if c.Version < 1 {
		return problem.Field("version", "SizeError", "is %d; it is at least 1", c.Version)
	}
	for name, a := range c.Attributes {
		target := "attributes." + name
		if !memberName.MatchString(name) {
			return problem.Field(target, "PatternError", "an attribute's name is 1 to 36 letters and digits, a letter first")
		}
		if err := a.Schema.check(0); err != nil {
			return problem.Field(target+".schema", "PatternError", "%v", err)
		}
		if _, ok := a.Schema.Properties["value"]; !ok {
			return problem.Field(target+".schema.properties.value", "NotNullError", "is missing; it describes the attribute's value")
		}
		if _, ok := c.Commands[a.Setter]; a.Setter != "" && !ok {
			return problem.Field(target+".setter", "PatternError", "names the command %q, which the capability does not have", a.Setter)
		}
	}
	for name, cmd := range c.Commands {
		if !memberName.MatchString(name) {
			return problem.Field("commands."+name, "PatternError", "a command's name is 1 to 36 letters and digits, a letter first")
		}
		for i, arg := range cmd.Arguments {
			if err := arg.Schema.check(0); err != nil {
				return problem.Field(fmt.Sprintf("commands.%s.arguments[%d].schema", name, i), "PatternError", "%v", err)
			}
		}
	}
	return nil
}

// CheckValue returns nil when the attribute exists and may hold the value and unit. The
// error is one sentence that names the attribute.
func (c *Capability) CheckValue(attribute string, v Value, unit string) error {
	a, ok := c.Attributes[attribute]
	if !ok {
		return fmt.Errorf("the capability %s has no attribute %.60q; it has %s", c.ID, attribute, names(c.Attributes))
	}
	if v == "" || v == "null" {
		return fmt.Errorf("the attribute %s.%s needs a value", c.ID, attribute)
	}
	if err := a.Schema.Properties["value"].Check(v); err != nil {
		return fmt.Errorf("the attribute %s.%s cannot hold it: %w", c.ID, attribute, err)
	}
	if u, ok := a.Schema.Properties["unit"]; ok && unit != "" {
		if err := u.Check(String(unit)); err != nil {
			return fmt.Errorf("the attribute %s.%s has another unit: %w", c.ID, attribute, err)
		}
	}
	return nil
}

// Unit returns the attribute's default unit, or "".
func (c *Capability) Unit(attribute string) string {
	u, _ := c.Attributes[attribute].Schema.Properties["unit"].Default.(string)
	return u
}

// CheckCommand returns nil when the command exists and takes the arguments. The target it
// returns with an error is the faulty part: "command" or "arguments[i]".
func (c *Capability) CheckCommand(command string, args []Value) (target string, err error) {
	cmd, ok := c.Commands[command]
	if !ok {
		return "command", fmt.Errorf("the capability %s has no command %.60q; it has %s", c.ID, command, names(c.Commands))
	}
	if len(args) > len(cmd.Arguments) {
		return fmt.Sprintf("arguments[%d]", len(cmd.Arguments)),
			fmt.Errorf("%s.%s takes %d arguments, not %d", c.ID, command, len(cmd.Arguments), len(args))
	}
	for i, a := range cmd.Arguments {
		target = fmt.Sprintf("arguments[%d]", i)
		if i >= len(args) || args[i] == "" || args[i] == "null" {
			if a.Optional {
				continue
			}
			return target, fmt.Errorf("%s.%s needs the argument %q", c.ID, command, a.Name)
		}
		if err := a.Schema.Check(args[i]); err != nil {
			return target, fmt.Errorf("the argument %q of %s.%s: %w", a.Name, c.ID, command, err)
		}
	}
	return "", nil
}

func names[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
