// Package installer walks a person through an app: choosing a location, the app's own
// configuration pages, what it may do, changing and removing it, and authorising it by OAuth. It
// keeps how far they are in memory and decides nothing: the lifecycles do.
package installer

import (
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hark/internal/apps"
	"hark/internal/configuration"
	"hark/internal/directory"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/lifecycle"
	"hark/internal/pages"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/shard"
)

// Installer serves the pages.
type Installer struct {
	log       *slog.Logger
	directory *directory.Directory
	shard     *shard.Shard
	lifecycle *lifecycle.Manager
	baseURL   string
	handler   http.Handler

	mu    sync.Mutex
	flows map[string]*flow
}

//go:embed *.html
var files embed.FS

func parse(name string) *template.Template {
	content, err := files.ReadFile(name + ".html")
	if err != nil {
		panic(err) // it is embedded
	}
	return pages.Parse(string(content))
}

var (
	choosePage    = parse("choose")
	settingsPage  = parse("settings")
	readyPage     = parse("ready")
	changePage    = parse("change")
	authorizePage = parse("authorize")
	sayPage       = parse("say")
)

// New returns the handler of /install/, /oauth/authorize and /oauth/callback/, each of OAuth's
// also under /v1. Forms from other sites are refused.
func New(log *slog.Logger, dir *directory.Directory, s *shard.Shard, m *lifecycle.Manager, baseURL string) *Installer {
	i := &Installer{log: log.With("component", "installer"), directory: dir, shard: s, lifecycle: m, baseURL: baseURL, flows: map[string]*flow{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /install/{app}", i.visit(i.choose))
	mux.HandleFunc("POST /install/{app}", i.visit(i.begin))
	mux.HandleFunc("GET /install/flow/{flow}", i.visit(i.show))
	mux.HandleFunc("POST /install/flow/{flow}", i.visit(i.step))
	mux.HandleFunc("GET /install/change/{installed}", i.visit(i.change))
	mux.HandleFunc("POST /install/change/{installed}", i.visit(i.doChange))
	for _, version := range []string{"", "/v1"} {
		mux.HandleFunc("GET "+version+"/oauth/authorize", i.visit(i.ask))
		mux.HandleFunc("POST "+version+"/oauth/authorize", i.visit(i.answer))
	}
	mux.HandleFunc("GET /oauth/callback/{flow}", i.visit(i.callBack))
	i.handler = pages.Guard(i.log, mux)
	return i
}

// Handle serves the pages on a mux.
func (i *Installer) Handle(mux *http.ServeMux) {
	for _, path := range []string{"/install/", "/oauth/authorize", "/v1/oauth/authorize", "/oauth/callback/"} {
		mux.Handle(path, i.handler)
	}
}

// visit is one request of a person.
type visit struct {
	*Installer
	http.ResponseWriter
	*http.Request
	visitor scope.Principal
}

// visit finds out who is there, and has strangers sign in first. What do refuses is shown.
func (i *Installer) visit(do func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Installer: i, ResponseWriter: w, Request: r}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		var err error
		if v.visitor, err = pages.Visitor(i.shard, r); err != nil || v.visitor.IsApp() {
			if r.Method != http.MethodGet {
				v.say(http.StatusUnauthorized, "You are not signed in", "Sign in and begin again.")
				return
			}
			http.Redirect(w, r, pages.SignInPath(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		if err := do(v); err != nil {
			v.refuse(err)
		}
	}
}

// who tells visitors apart.
func (v *visit) who() string { return v.visitor.Account.String() + " " + v.visitor.Name }

func (v *visit) frame(title string) pages.Frame {
	return pages.Frame{Title: title, Visitor: v.visitor.Name}
}

func (v *visit) render(page *template.Template, data any, leads ...string) error {
	pages.Render(v.ResponseWriter, v.log, http.StatusOK, page, data, leads...)
	return nil
}

// saying is a page with a few words.
type saying struct {
	pages.Frame
	Words string
	Next  string // an address to go on to
	Label string // of the way there
}

func (v *visit) say(status int, title, words string) {
	pages.Render(v.ResponseWriter, v.log, status, sayPage, saying{Frame: v.frame(title), Words: words, Next: "/", Label: "To the console"})
}

// refuse shows why something cannot be, and logs it.
func (v *visit) refuse(err error) {
	status, title := http.StatusUnprocessableEntity, "This cannot go on"
	switch problem.KindOf(err) {
	case problem.Denied, problem.NotFound:
		status = http.StatusForbidden
	case problem.Invalid:
		status = http.StatusBadRequest
	case problem.Conflict:
		status = http.StatusConflict
	case problem.Defect:
		v.log.Error("a page failed", "path", v.URL.Path, "err", err)
		status, err = http.StatusInternalServerError, errors.New("hark failed at this; its log has the details")
	}
	v.log.Info("a person was refused", "path", v.URL.Path, "visitor", v.visitor.Name, "because", err)
	v.say(status, title, err.Error())
}

// locale is the language that the browser prefers, such as en.
func (v *visit) locale() string {
	tag, _, _ := strings.Cut(v.Request.Header.Get("Accept-Language"), ",")
	tag, _, _ = strings.Cut(tag, ";")
	tag, _, _ = strings.Cut(strings.TrimSpace(tag), "-")
	if len(tag) < 2 || len(tag) > 3 || strings.ContainsFunc(tag, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return "en"
	}
	return tag
}

// flow is how far a person is with an app.
type flow struct {
	id       string
	visitor  string
	by       lifecycle.Configuring
	location *home.Location
	existing *apps.Installed // when it is changed, as it was at the beginning
	oauth    *authorization  // when an app sent the person
	began    time.Time

	mu     sync.Mutex
	init   *configuration.Initialize
	page   *configuration.Page
	trail  []string // the pages before this one
	config apps.Config
	name   string
	ready  bool // all pages are done
	done   bool
}

// flowLife is how long a person may take.
const flowLife = time.Hour

// maxFlows bounds the memory of flows; the oldest go first.
const maxFlows = 1000

func (i *Installer) keep(f *flow) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var oldest *flow
	for key, other := range i.flows {
		if time.Since(other.began) > flowLife {
			delete(i.flows, key)
		} else if oldest == nil || other.began.Before(oldest.began) {
			oldest = other
		}
	}
	if len(i.flows) >= maxFlows {
		delete(i.flows, oldest.id)
	}
	i.flows[f.id] = f
}

// flow returns the flow in the path to whom it belongs, locked.
func (v *visit) flow() (*flow, error) {
	v.mu.Lock()
	f := v.flows[v.PathValue("flow")]
	v.mu.Unlock()
	if f == nil || f.visitor != v.who() || time.Since(f.began) > flowLife {
		return nil, problem.New(problem.NotFound, "There is nothing to go on with here: it was finished, it took longer than %v, or hark was started anew. Begin again; nothing was installed.", flowLife)
	}
	f.mu.Lock()
	return f, nil
}

// app returns the app in the path.
func (v *visit) app() (*apps.App, error) { return v.directory.FindApp(v.visitor, v.PathValue("app")) }

type chooseView struct {
	pages.Frame
	App       *apps.App
	Locations []*home.Location
	Installed []*apps.Installed
}

// choose shows what the app is and asks for a location.
func (i *Installer) choose(v *visit) error {
	a, err := v.app()
	if err != nil {
		return err
	}
	if !a.SmartApp() {
		return problem.New(problem.Constraint, "%s is an API-access app: it sends you to hark by itself when you connect it, to /oauth/authorize.", a.DisplayName)
	}
	if err := a.Deliverable(); err != nil {
		return err
	}
	view := chooseView{Frame: v.frame("Install " + a.DisplayName), App: a, Locations: v.shard.Locations(v.visitor)}
	if view.Installed, err = v.shard.InstalledApps(v.visitor, func(in *apps.Installed) bool { return in.App == a.ID }); err != nil {
		return err
	}
	return v.render(choosePage, view)
}

// begin starts with a new install.
func (i *Installer) begin(v *visit) error {
	a, err := v.app()
	if err != nil {
		return err
	}
	at, err := id.Parse[id.Location](v.PostFormValue("location"))
	if err != nil {
		return problem.New(problem.Invalid, "Choose a location: %v.", err)
	}
	return v.start(&flow{by: lifecycle.Configuring{App: a, Installed: id.New[id.InstalledApp]()}}, at)
}

// start asks the app what it is and for its first page, and leads to that.
func (v *visit) start(f *flow, at id.Location) (err error) {
	f.id, f.visitor, f.began, f.by.Locale = id.New[id.Token]().String(), v.who(), time.Now(), v.locale()
	if f.location, err = v.shard.Location(v.visitor, at); err != nil {
		return err
	}
	if f.init, err = v.lifecycle.Initialize(v.Context(), f.by, f.config); err != nil {
		return err
	}
	if f.name == "" {
		f.name = f.by.App.DisplayName
	}
	if f.page, err = v.lifecycle.Page(v.Context(), f.by, f.init.FirstPageID, "", f.config); err != nil {
		return err
	}
	v.keep(f)
	http.Redirect(v.ResponseWriter, v.Request, "/install/flow/"+f.id, http.StatusSeeOther)
	return nil
}

// show shows where the person is.
func (i *Installer) show(v *visit) error {
	f, err := v.flow()
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	switch {
	case f.done:
		return v.render(sayPage, v.finished(f))
	case f.ready:
		return v.showReady(f)
	}
	return v.showPage(f, nil, nil)
}

func (v *visit) finished(f *flow) saying {
	words := f.name + " is installed in " + f.location.Name + "."
	if f.existing != nil {
		words = f.name + " is changed."
	}
	return saying{Frame: v.frame("Done"), Words: words, Next: "/install/change/" + f.by.Installed.String(), Label: "Change or remove it"}
}

// home returns what the person can choose from.
func (v *visit) home(f *flow) *configuration.Home {
	h := &configuration.Home{Modes: f.location.Modes, Devices: v.shard.Devices(v.visitor, func(d *home.Device) bool { return d.Location == f.location.ID })}
	scenes, _ := v.shard.Scenes(v.visitor) // who may see none has none to choose from
	for _, sc := range scenes {
		if sc.Location == f.location.ID {
			h.Scenes = append(h.Scenes, sc)
		}
	}
	return h
}

// step takes a form of the pages and goes where its button says.
func (i *Installer) step(v *visit) error {
	f, err := v.flow()
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	if f.done {
		return v.render(sayPage, v.finished(f))
	}
	if err := v.ParseForm(); err != nil {
		return problem.New(problem.Invalid, "The form cannot be read: %v.", err)
	}
	action, to, _ := strings.Cut(v.PostFormValue("action"), ":")
	if f.ready {
		if action == "back" {
			f.ready = false
		} else if err := v.finish(f); err != nil || f.oauth != nil {
			return err
		}
		return v.again(f)
	}
	config, wrong := f.page.Fill(f.config, v.PostForm, v.home(f))
	switch action {
	case "back": // what is not right yet is asked again on the way forth
		if len(f.trail) == 0 {
			return v.again(f)
		}
		last := len(f.trail) - 1
		if err := v.turn(f, f.trail[last], f.page.ID, config); err != nil {
			return err
		}
		f.trail = f.trail[:last]
		return v.again(f)
	case "update": // something changed that the page depends on
		if err := v.turn(f, f.page.ID, f.page.ID, config); err != nil {
			return err
		}
		return v.showPage(f, nil, nil)
	}
	if len(wrong) > 0 {
		return v.showPage(f, v.PostForm, wrong)
	}
	from := f.page.ID
	switch {
	case action == "page" && f.leads(to):
	case f.page.NextID == "" || f.page.Complete:
		f.config, f.ready = config, true
		return v.again(f)
	default:
		to = f.page.NextID
	}
	if err := v.turn(f, to, from, config); err != nil {
		return err
	}
	f.trail = append(f.trail, from)
	return v.again(f)
}

// leads reports whether the page has a setting that leads to another.
func (f *flow) leads(to string) bool {
	return slices.ContainsFunc(f.page.Settings(), func(s *configuration.Setting) bool { return s.Type == configuration.PageLink && s.Page == to })
}

// again shows the flow by its own address, so that loading it anew repeats nothing.
func (v *visit) again(f *flow) error {
	http.Redirect(v.ResponseWriter, v.Request, "/install/flow/"+f.id, http.StatusSeeOther)
	return nil
}

// turn asks the app for another page. When it fails, everything is as before.
func (v *visit) turn(f *flow, to, from string, config apps.Config) error {
	p, err := v.lifecycle.Page(v.Context(), f.by, to, from, config)
	if err != nil {
		return err
	}
	f.page, f.config = p, config
	return nil
}

// permissions returns what follows from what the app asks for and from the chosen devices.
func (f *flow) permissions() (scope.Set, error) {
	asked, err := scope.ParseSet(f.init.Permissions)
	if err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		asked = f.by.App.OAuth.Scope
	}
	return apps.Permissions(asked, f.config), nil
}

// finish installs the app, or changes it.
func (v *visit) finish(f *flow) error {
	permissions, err := f.permissions()
	if err != nil {
		return err
	}
	if name := strings.TrimSpace(v.PostFormValue("name")); name != "" && !f.init.DisableCustomDisplayName {
		f.name = name
	}
	if f.existing != nil {
		if _, err := v.lifecycle.Reconfigure(v.Context(), v.visitor, f.by.Installed, f.config, permissions); err != nil {
			return err
		}
		if f.name != f.existing.DisplayName {
			if _, err := v.shard.Rename(v.Context(), v.visitor, f.by.Installed, f.name); err != nil {
				return err
			}
		}
	} else if _, _, err := v.lifecycle.Install(v.Context(), v.visitor, lifecycle.InstallRequest{
		ID: f.by.Installed, App: f.by.App.ID, Location: f.location.ID, DisplayName: f.name, Config: f.config, Permissions: permissions,
	}); err != nil {
		return err
	}
	f.done = true
	if f.oauth != nil {
		v.sendBack(f.oauth, f.by.Installed)
	}
	return nil
}

// installed returns the installed app in the path with its app.
func (v *visit) installed() (*apps.Installed, *apps.App, error) {
	want, err := id.Parse[id.InstalledApp](v.PathValue("installed"))
	if err != nil {
		return nil, nil, problem.New(problem.Invalid, "The address is wrong: %v.", err)
	}
	in, err := v.shard.FindInstalled(v.visitor, want, "w")
	if err != nil {
		return nil, nil, err
	}
	a, ok := v.directory.App(in.App)
	if !ok {
		return nil, nil, problem.New(problem.NotFound, "The app %s of this installed app is gone.", in.App)
	}
	return in, a, nil
}

type changeView struct {
	pages.Frame
	App       *apps.App
	Installed *apps.Installed
	Location  *home.Location
	May       []string
}

// change shows an installed app, to be changed or removed.
func (i *Installer) change(v *visit) error {
	in, a, err := v.installed()
	if err != nil {
		return err
	}
	at, err := v.shard.Location(v.visitor, in.Location)
	if err != nil {
		return err
	}
	return v.render(changePage, changeView{v.frame(in.DisplayName), a, in, at, v.words(in.Permissions)})
}

func (i *Installer) doChange(v *visit) error {
	in, a, err := v.installed()
	if err != nil {
		return err
	}
	switch v.PostFormValue("action") {
	case "remove":
		if err := v.lifecycle.Uninstall(v.Context(), v.visitor, in.ID); err != nil {
			return err
		}
		return v.render(sayPage, saying{Frame: v.frame("Removed"), Words: in.DisplayName + " is removed, with its subscriptions and tokens.", Next: "/", Label: "To the console"})
	case "configure":
		return v.start(&flow{by: lifecycle.Configuring{App: a, Installed: in.ID}, existing: in, config: in.Config, name: in.DisplayName}, in.Location)
	}
	return problem.New(problem.Invalid, "The form says neither configure nor remove.")
}

// callBack takes a person back from a third party that an app sent them to.
func (i *Installer) callBack(v *visit) error {
	f, err := v.flow()
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	if err := v.lifecycle.CallBack(v.Context(), f.by, "/oauth/callback?"+v.URL.RawQuery); err != nil {
		return err
	}
	if !f.done && !f.ready { // the page may look otherwise now
		if err := v.turn(f, f.page.ID, f.page.ID, f.config); err != nil {
			return err
		}
	}
	return v.again(f)
}
