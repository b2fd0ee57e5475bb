// Package configuration is the model of an app's configuration pages (reference 4.4, 4.5): what
// an app answers to CONFIGURATION, which choices a home offers, and what a person chose. It is
// pure; who calls the app and who shows the page is decided elsewhere.
package configuration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hark/internal/problem"
)

// Initialize is an app's answer to the phase INITIALIZE.
type Initialize struct {
	ID                       string   `json:"id"`
	Name                     string   `json:"name"`
	Description              string   `json:"description"`
	Permissions              []string `json:"permissions"`
	FirstPageID              string   `json:"firstPageId"`
	DisableCustomDisplayName bool     `json:"disableCustomDisplayName"`
	DisableRemoveApp         bool     `json:"disableRemoveApp"`
}

// Page is an app's answer to the phase PAGE.
type Page struct {
	ID         string    `json:"pageId"`
	Name       string    `json:"name"`
	NextID     string    `json:"nextPageId"`
	PreviousID string    `json:"previousPageId"`
	Complete   bool      `json:"complete"`
	Style      string    `json:"style"`    // NORMAL or SPLASH
	NextText   string    `json:"nextText"` // of SPLASH
	Sections   []Section `json:"sections"`
}

// Section is a part of a page.
type Section struct {
	Name     string    `json:"name"`
	Hideable bool      `json:"hideable"`
	Hidden   bool      `json:"hidden"`
	Style    string    `json:"style"`
	Settings []Setting `json:"settings"`
}

// The types of setting.
const (
	Device       = "DEVICE"
	Mode         = "MODE"
	Scene        = "SCENE"
	Enum         = "ENUM"
	Sound        = "SOUND"
	MessageGroup = "MESSAGE_GROUP"
	Message      = "MESSAGE"
	Boolean      = "BOOLEAN"
	Number       = "NUMBER"
	Decimal      = "DECIMAL"
	Text         = "TEXT"
	Password     = "PASSWORD"
	Phone        = "PHONE"
	Email        = "EMAIL"
	Time         = "TIME"
	Paragraph    = "PARAGRAPH"
	Link         = "LINK"
	PageLink     = "PAGE"
	Image        = "IMAGE"
	Icon         = "ICON"
	Images       = "IMAGES"
	Video        = "VIDEO"
	OAuth        = "OAUTH"
)

// chosen are the types that have a value; the others are only shown.
var chosen = []string{Device, Mode, Scene, Enum, Sound, MessageGroup, Message, Boolean, Number, Decimal, Text, Password, Phone, Email, Time}

var shown = []string{Paragraph, Link, PageLink, Image, Icon, Images, Video, OAuth}

// Option is a choice that the app gives.
type Option struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Sound string `json:"sound"`
}

// OptionGroup is options under a heading.
type OptionGroup struct {
	Name    string   `json:"name"`
	Options []Option `json:"options"`
}

// Setting is one thing that an app asks or shows.
type Setting struct {
	ID                  string          `json:"id"`
	Name                string          `json:"name"`
	Description         string          `json:"description"`
	Type                string          `json:"type"`
	Required            bool            `json:"required"`
	Default             json.RawMessage `json:"defaultValue"`
	Disabled            bool            `json:"disabled"`
	SubmitOnChange      bool            `json:"submitOnChange"`
	Multiple            bool            `json:"multiple"`
	Preselect           bool            `json:"preselect"`
	Capabilities        []string        `json:"capabilities"`
	ExcludeCapabilities []string        `json:"excludeCapabilities"`
	Permissions         []string        `json:"permissions"`
	Options             []Option        `json:"options"`
	GroupedOptions      []OptionGroup   `json:"groupedOptions"`
	MinLength           int             `json:"minLength"`
	MaxLength           int             `json:"maxLength"`
	Min                 json.RawMessage `json:"min"`
	Max                 json.RawMessage `json:"max"`
	Step                json.RawMessage `json:"step"`
	Style               string          `json:"style"`
	Image               string          `json:"image"`
	Images              []string        `json:"images"`
	Video               string          `json:"video"`
	URL                 string          `json:"url"`
	Page                string          `json:"page"`
	URLTemplate         string          `json:"urlTemplate"`
}

// Chosen reports whether the setting has a value.
func (s *Setting) Chosen() bool { return slices.Contains(chosen, s.Type) }

// text returns a JSON string's content, and any other value's JSON; null and nothing are "".
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// MinText returns the least value as text, "" for none.
func (s *Setting) MinText() string { return text(s.Min) }

// MaxText returns the greatest value as text, "" for none.
func (s *Setting) MaxText() string { return text(s.Max) }

// StepText returns the step between values as text, "" for none.
func (s *Setting) StepText() string { return text(s.Step) }

// DefaultText returns the default as text, "" for none.
func (s *Setting) DefaultText() string { return text(s.Default) }

// AllOptions returns the options of all groups.
func (s *Setting) AllOptions() []Option {
	options := slices.Clone(s.Options)
	for _, g := range s.GroupedOptions {
		options = append(options, g.Options...)
	}
	return options
}

var (
	pagePattern    = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,36}$`)
	settingPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,128}$`)
)

type answer struct {
	Data *struct {
		Initialize *Initialize `json:"initialize"`
		Page       *Page       `json:"page"`
	} `json:"configurationData"`
}

func read(body []byte) (*answer, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, wrong("its answer is not the JSON that is wanted (%v): %.200q", err, body)
	}
	if a.Data == nil {
		return nil, wrong("its answer has no configurationData: %.200q", body)
	}
	return &a, nil
}

// wrong is what an app's answer has against it.
func wrong(format string, args ...any) error {
	return problem.New(problem.Constraint, "The app answers CONFIGURATION wrongly: "+format+".", args...)
}

// ParseInitialize reads the answer to INITIALIZE.
func ParseInitialize(body []byte) (*Initialize, error) {
	a, err := read(body)
	if err != nil {
		return nil, err
	}
	if a.Data.Initialize == nil {
		return nil, wrong("INITIALIZE wants configurationData.initialize, which is missing: %.200q", body)
	}
	if id := a.Data.Initialize.FirstPageID; id != "" && !pagePattern.MatchString(id) {
		return nil, wrong("firstPageId is %.60q, which does not match %s", id, pagePattern)
	}
	return a.Data.Initialize, nil
}

// Bounds of a page, in number.
const maxSettings = 500

// ParsePage reads the answer to PAGE.
func ParsePage(body []byte) (*Page, error) {
	a, err := read(body)
	if err != nil {
		return nil, err
	}
	p := a.Data.Page
	if p == nil {
		return nil, wrong("PAGE wants configurationData.page, which is missing: %.200q", body)
	}
	for what, id := range map[string]string{"nextPageId": p.NextID, "previousPageId": p.PreviousID} {
		if id != "" && !pagePattern.MatchString(id) {
			return nil, wrong("%s is %.60q, which does not match %s", what, id, pagePattern)
		}
	}
	seen := map[string]bool{}
	for i := range p.Sections {
		for j := range p.Sections[i].Settings {
			s := &p.Sections[i].Settings[j]
			s.Type = strings.ToUpper(s.Type)
			where := fmt.Sprintf("the page %q, section %d, setting %d", p.ID, i+1, j+1)
			switch {
			case !s.Chosen() && !slices.Contains(shown, s.Type):
				return nil, wrong("%s (%.60q) is of the type %.40q, which is none of %s", where, s.ID, s.Type, strings.Join(slices.Concat(chosen, shown), ", "))
			case s.Chosen() && !settingPattern.MatchString(s.ID):
				return nil, wrong("%s has the id %.140q, which does not match %s", where, s.ID, settingPattern)
			case s.Chosen() && seen[s.ID]:
				return nil, wrong("%s has the id %q, as another of the page", where, s.ID)
			case s.Type == PageLink && !pagePattern.MatchString(s.Page):
				return nil, wrong("%s leads to the page %.60q, which does not match %s", where, s.Page, pagePattern)
			case len(seen) >= maxSettings:
				return nil, wrong("the page %q has more than %d settings", p.ID, maxSettings)
			}
			seen[s.ID] = s.Chosen()
		}
	}
	return p, nil
}

// Settings returns the settings of all sections, in order.
func (p *Page) Settings() []*Setting {
	var list []*Setting
	for i := range p.Sections {
		for j := range p.Sections[i].Settings {
			list = append(list, &p.Sections[i].Settings[j])
		}
	}
	return list
}
