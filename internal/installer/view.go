package installer

import (
	"slices"
	"strings"

	"hark/internal/configuration"
	"hark/internal/id"
	"hark/internal/pages"
	"hark/internal/scope"
)

// settingsView is one of the app's pages.
type settingsView struct {
	pages.Frame
	App      string
	Page     *configuration.Page
	Sections []sectionView
	Back     bool
	Last     bool
	Wrong    int
	Update   bool // something on it changes the page
}

type sectionView struct {
	configuration.Section
	Open     bool
	Settings []settingView
}

// settingView is a setting with what is chosen.
type settingView struct {
	configuration.Setting
	Value   string
	Choices []configuration.Choice
	Grouped bool
	Wrong   string
	Input   string // the type of the input
	Link    string // where it leads
}

// inputs are the types of input by the types of setting.
var inputs = map[string]string{
	configuration.Text: "text", configuration.Password: "password", configuration.Number: "number", configuration.Decimal: "number",
	configuration.Phone: "tel", configuration.Email: "email", configuration.Time: "time",
}

// callbackMark is what an app leaves for the platform's callback in an address (reference 4.4).
const callbackMark = "__SmartThingsOAuthCallback__"

// showPage shows the page where the flow is: with what a form said and what is wrong with it,
// or else with what is configured.
func (v *visit) showPage(f *flow, given map[string][]string, wrong map[string]string) error {
	view := settingsView{Frame: v.frame(f.page.Name), App: f.by.App.DisplayName, Page: f.page, Back: len(f.trail) > 0,
		Last: f.page.NextID == "" || f.page.Complete, Wrong: len(wrong)}
	home := v.home(f)
	for _, section := range f.page.Sections {
		sv := sectionView{Section: section, Open: !section.Hidden}
		for _, s := range section.Settings {
			one := settingView{Setting: s, Choices: s.Choices(home, f.config), Wrong: wrong[s.ID], Input: inputs[s.Type]}
			values := s.Values(f.config)
			if given != nil && !s.Disabled {
				values = given[s.ID]
				for i := range one.Choices {
					one.Choices[i].Chosen = slices.Contains(values, one.Choices[i].Value)
				}
			}
			if len(values) > 0 && s.Type != configuration.Password {
				one.Value = values[0]
			}
			one.Grouped = len(s.GroupedOptions) > 0
			one.Link = s.URL
			if s.Type == configuration.OAuth {
				one.Link = strings.ReplaceAll(s.URLTemplate, callbackMark, v.baseURL+"/oauth/callback/"+f.id)
			}
			view.Update = view.Update || s.SubmitOnChange
			sv.Open = sv.Open || one.Wrong != ""
			sv.Settings = append(sv.Settings, one)
		}
		view.Sections = append(view.Sections, sv)
	}
	return v.render(settingsPage, view)
}

type readyView struct {
	pages.Frame
	App      string
	Location string
	Name     string
	Rename   bool
	May      []string
	Change   bool
}

// showReady shows what will be, before it is.
func (v *visit) showReady(f *flow) error {
	permissions, err := f.permissions()
	if err != nil {
		return err
	}
	view := readyView{Frame: v.frame("Ready"), App: f.by.App.DisplayName, Location: f.location.Name, Name: f.name, Rename: !f.init.DisableCustomDisplayName,
		May: v.words(permissions), Change: f.existing != nil}
	if f.oauth != nil {
		return v.render(readyPage, view, f.oauth.redirectURI)
	}
	return v.render(readyPage, view)
}

// what a permission lets an app do, by its first two parts.
var meanings = map[string]string{
	"r:devices": "see %s and what they report", "x:devices": "control %s", "w:devices": "change and report for %s", "l:devices": "list your devices",
	"r:locations": "see your home with its modes and rooms", "w:locations": "change your home", "x:locations": "change the mode of your home", "l:locations": "list your homes",
	"r:scenes": "see your scenes", "w:scenes": "change your scenes", "x:scenes": "execute your scenes", "l:scenes": "list your scenes",
	"r:hubs": "see your hubs and their health", "r:security": "see whether your home is armed", "w:security": "arm and disarm your home",
	"r:installedapps": "see the apps that you installed", "w:installedapps": "change the apps that you installed", "l:installedapps": "list the apps that you installed",
	"r:apps": "see apps", "w:apps": "change apps", "r:rules": "see your rules", "w:rules": "change your rules", "x:rules": "execute your rules",
	"r:schedules": "see its schedules", "w:schedules": "set its schedules", "w:notifications": "notify you", "sse": "receive events as they happen",
	"r:deviceprofiles": "see device profiles", "w:deviceprofiles": "change device profiles", "i:deviceprofiles": "add devices of its own kinds",
	"r:customcapability": "see custom capabilities", "controller:stCli": "do everything that you may",
}

// words says in words what permissions allow, each thing once.
func (v *visit) words(set scope.Set) []string {
	var list []string
	single := map[string][]string{} // names of single devices, by what may be done with them
	for _, s := range set {
		parts := strings.Split(string(s), ":")
		key := string(s)
		if len(parts) >= 2 && meanings[key] == "" {
			key = parts[0] + ":" + parts[1]
		}
		words, ok := meanings[key]
		if !ok {
			words = "use the permission " + string(s)
		}
		if strings.Contains(words, "%s") {
			if len(parts) > 2 {
				if d, err := id.Parse[id.Device](parts[2]); err == nil {
					name := parts[2]
					if h, err := v.shard.Device(v.visitor, d, "r"); err == nil {
						name = h.Label
					}
					single[words] = append(single[words], name)
					continue
				}
			}
			what := "all your devices"
			if strings.HasSuffix(string(s), ":$") {
				what = "the devices that you choose"
			}
			words = strings.ReplaceAll(words, "%s", what)
		}
		if !slices.Contains(list, words) {
			list = append(list, words)
		}
	}
	for words, names := range single {
		slices.Sort(names)
		list = append(list, strings.ReplaceAll(words, "%s", strings.Join(names, ", ")))
	}
	slices.Sort(list)
	for i, words := range list {
		list[i] = strings.ToUpper(words[:1]) + words[1:]
	}
	return list
}
