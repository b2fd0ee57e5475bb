package configuration

import (
	"fmt"
	"maps"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hark/internal/apps"
	"hark/internal/home"
	"hark/internal/id"
)

// Home is what a person can choose from.
type Home struct {
	Devices []*home.Device
	Modes   []home.Mode
	Scenes  []*home.Scene
}

// Choice is one thing that can be chosen.
type Choice struct {
	Value, Name, Group string
	Chosen             bool
}

// Choices returns what the setting can be, with what is chosen in the configuration, or by
// default where that has no word of the setting.
func (s *Setting) Choices(h *Home, config apps.Config) []Choice {
	var list []Choice
	add := func(value, name, group string) { list = append(list, Choice{Value: value, Name: name, Group: group}) }
	switch s.Type {
	case Device:
		for _, d := range s.devices(h) {
			add(d.ID.String(), d.Label, "")
		}
	case Mode:
		for _, m := range h.Modes {
			add(m.ID.String(), m.Label, "")
		}
	case Scene:
		for _, sc := range h.Scenes {
			add(sc.ID.String(), sc.Name, "")
		}
	case Enum, Sound, MessageGroup, Message:
		for _, o := range s.Options {
			add(o.ID, o.Name, "")
		}
		for _, g := range s.GroupedOptions {
			for _, o := range g.Options {
				add(o.ID, o.Name, g.Name)
			}
		}
	}
	values := s.Values(config)
	for i := range list {
		list[i].Chosen = slices.Contains(values, list[i].Value)
	}
	if _, answered := config[s.ID]; !answered && s.Type == Device && s.Preselect && len(list) > 0 {
		list[0].Chosen = true
	}
	return list
}

// devices returns the devices that have all of the capabilities and none of the excluded.
func (s *Setting) devices(h *Home) []*home.Device {
	var list []*home.Device
	for _, d := range h.Devices {
		fits := true
		for _, c := range s.Capabilities {
			fits = fits && d.HasCapability(c)
		}
		for _, c := range s.ExcludeCapabilities {
			fits = fits && !d.HasCapability(c)
		}
		if fits {
			list = append(list, d)
		}
	}
	return list
}

// Values returns what is configured as the texts of a form, or the default where the
// configuration has no word of the setting.
func (s *Setting) Values(config apps.Config) []string {
	entries, answered := config[s.ID]
	if !answered {
		if value := s.DefaultText(); value != "" {
			return []string{value}
		}
		return nil
	}
	var values []string
	for _, e := range entries {
		switch {
		case e.Device != nil:
			values = append(values, e.Device.DeviceID.String())
		case e.Mode != nil:
			values = append(values, e.Mode.ModeID.String())
		case e.Scene != nil:
			values = append(values, e.Scene.SceneID)
		case e.Message != nil:
			values = append(values, e.Message.MessageGroupKey)
		case e.String != nil:
			values = append(values, e.String.Value)
		}
	}
	return values
}

// Fill returns the configuration with what a form says of the page's settings, and what is
// wrong, by setting. A disabled setting keeps its value.
func (p *Page) Fill(config apps.Config, form map[string][]string, h *Home) (filled apps.Config, wrong map[string]string) {
	filled, wrong = maps.Clone(config), map[string]string{}
	if filled == nil {
		filled = apps.Config{}
	}
	for _, s := range p.Settings() {
		if !s.Chosen() || s.Disabled {
			continue
		}
		var values []string
		for _, v := range form[s.ID] {
			if v = strings.TrimSpace(v); v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		if s.Type == Boolean {
			values = []string{strconv.FormatBool(len(values) > 0)}
		}
		entries, fault := s.entries(values, h)
		if fault != "" {
			wrong[s.ID] = fault
			continue
		}
		if len(entries) == 0 {
			delete(filled, s.ID)
		} else {
			filled[s.ID] = entries
		}
	}
	return filled, wrong
}

// maxValue is the longest value of a setting (reference 4.5).
const maxValue = 2048

// entries turns the texts of a form into the configuration's entries.
func (s *Setting) entries(values []string, h *Home) (entries []apps.ConfigEntry, wrong string) {
	if len(values) == 0 {
		if s.Required {
			return nil, "This is needed."
		}
		return nil, ""
	}
	if len(values) > 1 && !s.Multiple {
		return nil, "Choose one."
	}
	for _, v := range values {
		e, wrong := s.entry(v, h)
		if wrong != "" {
			return nil, wrong
		}
		entries = append(entries, e)
	}
	return entries, ""
}

func (s *Setting) entry(v string, h *Home) (e apps.ConfigEntry, wrong string) {
	switch s.Type {
	case Device:
		for _, d := range s.devices(h) {
			if d.ID.String() == v {
				return apps.ConfigEntry{ValueType: "DEVICE", Device: &apps.DeviceConfig{DeviceID: d.ID, ComponentID: s.component(d), Permissions: s.verbs()}}, ""
			}
		}
		return e, "This device cannot be chosen here."
	case Mode:
		for _, m := range h.Modes {
			if m.ID.String() == v {
				return apps.ConfigEntry{ValueType: "MODE", Mode: &apps.ModeConfig{ModeID: m.ID}}, ""
			}
		}
		return e, "This mode is not there any more."
	case Scene:
		scene, err := id.Parse[id.Scene](v)
		if err == nil && slices.ContainsFunc(h.Scenes, func(sc *home.Scene) bool { return sc.ID == scene }) {
			return apps.ConfigEntry{ValueType: "SCENE", Scene: &apps.SceneConfig{SceneID: v, Permissions: []string{"x"}}}, ""
		}
		return e, "This scene is not there any more."
	case Enum, Sound, MessageGroup, Message:
		if !slices.ContainsFunc(s.AllOptions(), func(o Option) bool { return o.ID == v }) {
			return e, "This is none of the choices."
		}
		if s.Type == MessageGroup || s.Type == Message {
			return apps.ConfigEntry{ValueType: "MESSAGE", Message: &apps.MessageConfig{MessageGroupKey: v}}, ""
		}
	default:
		if wrong := s.check(v); wrong != "" {
			return e, wrong
		}
	}
	return apps.ConfigEntry{ValueType: "STRING", String: &apps.StringConfig{Value: v}}, ""
}

// component returns the component of the device that the setting is about: the first that has
// its first capability.
func (s *Setting) component(d *home.Device) string {
	for _, c := range d.Components {
		if len(s.Capabilities) > 0 && c.Has(s.Capabilities[0]) {
			return c.ID
		}
	}
	return "main"
}

// verbs returns what the setting asks to do with its devices: r where it does not say.
func (s *Setting) verbs() []string {
	var verbs []string
	for _, p := range s.Permissions {
		if (p == "r" || p == "w" || p == "x") && !slices.Contains(verbs, p) {
			verbs = append(verbs, p)
		}
	}
	if len(verbs) == 0 {
		return []string{"r"}
	}
	return verbs
}

var (
	phonePattern = regexp.MustCompile(`^\+?[0-9 ()./-]{3,30}$`)
	timePattern  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
)

// check reports what is wrong with a text.
func (s *Setting) check(v string) string {
	n := utf8.RuneCountInString(v)
	switch {
	case len(v) > maxValue:
		return fmt.Sprintf("This is longer than %d characters.", maxValue)
	case s.MinLength > 0 && n < s.MinLength:
		return fmt.Sprintf("This needs at least %d characters.", s.MinLength)
	case s.MaxLength > 0 && n > s.MaxLength:
		return fmt.Sprintf("This may have at most %d characters.", s.MaxLength)
	}
	switch s.Type {
	case Number, Decimal:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return "This is not a number."
		}
		if s.Type == Number && f != float64(int64(f)) {
			return "This is not a whole number."
		}
		if least, err := strconv.ParseFloat(s.MinText(), 64); err == nil && f < least {
			return fmt.Sprintf("This is below the least, %s.", s.MinText())
		}
		if most, err := strconv.ParseFloat(s.MaxText(), 64); err == nil && f > most {
			return fmt.Sprintf("This is above the most, %s.", s.MaxText())
		}
	case Phone:
		if !phonePattern.MatchString(v) {
			return "This is not a telephone number."
		}
	case Email:
		if a, err := mail.ParseAddress(v); err != nil || a.Address != v {
			return "This is not an e-mail address."
		}
	case Time:
		if !timePattern.MatchString(v) {
			return "This is not a time such as 16:35."
		}
		if least := s.MinText(); timePattern.MatchString(least) && v < least {
			return fmt.Sprintf("This is before %s.", least)
		}
		if most := s.MaxText(); timePattern.MatchString(most) && v > most {
			return fmt.Sprintf("This is after %s.", most)
		}
	}
	return ""
}
