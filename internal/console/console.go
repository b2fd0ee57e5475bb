// Package console is the web page of a server: homes with their devices, apps with their
// targets, installed apps with their deliveries. It is rendered on the server, works without
// scripts, and decides nothing: what a visitor sees and may do follows from their token.
package console

import (
	"cmp"
	_ "embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"hark/internal/apps"
	"hark/internal/capability"
	"hark/internal/delivery"
	"hark/internal/directory"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/lifecycle"
	"hark/internal/pages"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/shard"
	"hark/internal/subscription"
)

// Console serves the page.
type Console struct {
	log       *slog.Logger
	directory *directory.Directory
	shard     *shard.Shard
	lifecycle *lifecycle.Manager
	provider  *provider // nil without
}

//go:embed page.html
var content string

var page = pages.Parse(content)

// New returns the handler of "/" and "/console/". Forms from other sites are refused. With an
// issuer people may sign in there, and come back to the base URL.
func New(log *slog.Logger, dir *directory.Directory, s *shard.Shard, m *lifecycle.Manager, by OIDC, baseURL string) http.Handler {
	c := &Console{log: log.With("component", "console"), directory: dir, shard: s, lifecycle: m}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.show)
	mux.HandleFunc("POST /console/sign-in", c.signIn)
	mux.HandleFunc("POST /console/sign-out", c.signOut)
	mux.HandleFunc("POST /console/report", c.act(c.report))
	mux.HandleFunc("POST /console/mode", c.act(c.mode))
	mux.HandleFunc("POST /console/confirm", c.act(c.confirm))
	mux.HandleFunc("POST /console/resume", c.act(c.resume))
	mux.HandleFunc("GET /console/tokens", c.tokens)
	mux.HandleFunc("POST /console/tokens", c.tokens)
	if by.Issuer != "" {
		c.provider = &provider{OIDC: by, redirectURL: baseURL + "/console/oidc/callback", trips: map[string]trip{}}
		mux.HandleFunc("GET /console/oidc", c.leave)
		mux.HandleFunc("GET /console/oidc/callback", c.comeBack)
	}
	return pages.Guard(c.log, mux)
}

// signIn takes a name with its password, or a token, from a form. In the address it would stay
// in histories and logs; hark dev alone prints such an address, for its own machine.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimSpace(r.PostFormValue("token"))
	var err error
	if name := strings.TrimSpace(r.PostFormValue("name")); name != "" {
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		token, err = c.directory.SignIn(r.Context(), name, r.PostFormValue("password"), from)
	}
	if err == nil {
		_, err = c.shard.Principal(token)
	}
	if err != nil {
		c.stranger(w, r, err)
		return
	}
	pages.Remember(w, r, token)
	http.Redirect(w, r, pages.Next(r), http.StatusSeeOther)
}

// stranger shows how to sign in, with what stood against it.
func (c *Console) stranger(w http.ResponseWriter, r *http.Request, err error) {
	v := view{Frame: pages.Frame{Title: "Sign in"}, Next: pages.Next(r), Accounts: c.directory.HasAccounts()}
	if c.provider != nil {
		v.Provider = cmp.Or(c.provider.Name, c.provider.Issuer)
	}
	status := http.StatusOK
	if err != nil {
		v.Message, status = err.Error(), http.StatusUnauthorized
		if problem.KindOf(err) == problem.TooMany {
			status = http.StatusTooManyRequests
		}
	}
	c.render(w, status, v)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if token, ok := pages.Token(r); ok {
		if err := c.directory.SignOut(r.Context(), token); err != nil {
			c.log.Error("a session could not be ended", "err", err)
		}
	}
	pages.Forget(w, r)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// act adapts a form's action: it shows the page again, with the refusal if there is one.
func (c *Console) act(do func(scope.Principal, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := pages.Visitor(c.shard, r)
		if err != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if err := do(p, r); err != nil {
			v := c.view(p)
			v.Message, v.Refresh = err.Error(), 0
			c.render(w, http.StatusUnprocessableEntity, v)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func (c *Console) report(p scope.Principal, r *http.Request) error {
	device, err := id.Parse[id.Device](r.PostFormValue("device"))
	if err != nil {
		return err
	}
	_, err = c.shard.Report(r.Context(), p, []shard.Report{{
		Device: device, Component: r.PostFormValue("component"), Capability: r.PostFormValue("capability"),
		Attribute: r.PostFormValue("attribute"), Value: capability.String(r.PostFormValue("value")),
	}}, true)
	return err
}

func (c *Console) mode(p scope.Principal, r *http.Request) error {
	at, err := id.Parse[id.Location](r.PostFormValue("location"))
	if err != nil {
		return err
	}
	mode, err := id.Parse[id.Mode](r.PostFormValue("mode"))
	if err != nil {
		return err
	}
	_, err = c.shard.SetMode(r.Context(), p, at, mode)
	return err
}

func (c *Console) confirm(p scope.Principal, r *http.Request) error {
	_, err := c.lifecycle.ConfirmWithout(r.Context(), p, r.PostFormValue("app"))
	return err
}

func (c *Console) resume(p scope.Principal, r *http.Request) error {
	app, err := id.Parse[id.InstalledApp](r.PostFormValue("installed"))
	if err != nil {
		return err
	}
	in, err := c.shard.FindInstalled(p, app, "w")
	if err != nil {
		return err
	}
	return c.shard.Resume(r.Context(), in.ID)
}

func (c *Console) show(w http.ResponseWriter, r *http.Request) {
	if token := r.URL.Query().Get("token"); token != "" {
		pages.Remember(w, r, token)
		http.Redirect(w, r, pages.Next(r), http.StatusSeeOther)
		return
	}
	p, err := pages.Visitor(c.shard, r)
	switch {
	case errors.Is(err, http.ErrNoCookie):
		c.stranger(w, r, nil)
	case err != nil:
		c.stranger(w, r, err)
	default:
		c.render(w, http.StatusOK, c.view(p))
	}
}

func (c *Console) render(w http.ResponseWriter, status int, v view) {
	pages.Render(w, c.log, status, page, v)
}

// view is what the page shows.
type view struct {
	pages.Frame
	Next     string // where a visitor who signs in goes on to
	Accounts bool   // there are people who sign in with a password
	Provider string // the name of an OpenID Connect provider; "" without
	Homes    []homeView
	Apps     []appView
	Counters delivery.Counters
}

type homeView struct {
	*home.Location
	Mode    home.Mode
	Devices []deviceView
}

type deviceView struct {
	*home.Device
	Room       string
	Attributes []attributeView
}

type attributeView struct {
	home.Attribute
	Text    string
	Choices []string // other values that the visitor can let a virtual device report
}

type appView struct {
	*apps.App
	Held      string
	Installed []installedView
}

type installedView struct {
	*apps.Installed
	Subscriptions []subscriptionView
	Delivery      delivery.Status
	Gaps          []delivery.Gap
}

type subscriptionView struct {
	*subscription.Subscription
	Asks string // what is asked of a device's events
}

// maxChoices is how many values of an attribute get a button.
const maxChoices = 4

func (c *Console) view(p scope.Principal) view {
	v := view{Frame: pages.Frame{Visitor: p.Name, Refresh: 5}, Counters: c.shard.Delivery().Counters()}
	for _, l := range c.shard.Locations(p) {
		h := homeView{Location: l}
		h.Mode, _ = c.shard.Mode(p, l.ID) // it may be read, since the location may
		for _, d := range c.shard.Devices(p, func(d *home.Device) bool { return d.Location == l.ID }) {
			room, _ := l.Room(d.Room)
			h.Devices = append(h.Devices, deviceView{d, room.Name, c.attributes(p, d)})
		}
		slices.SortStableFunc(h.Devices, func(a, b deviceView) int { return cmp.Compare(a.Room, b.Room) })
		v.Homes = append(v.Homes, h)
	}
	list, err := c.directory.Apps(p, func(*apps.App) bool { return true })
	if err != nil {
		return v // the visitor may not see apps
	}
	for _, a := range list {
		app := appView{App: a}
		if err := a.Deliverable(); err != nil {
			app.Held = err.Error()
		}
		installed, err := c.shard.InstalledApps(p, func(in *apps.Installed) bool { return in.App == a.ID })
		if err != nil && problem.KindOf(err) != problem.Denied {
			c.log.Error("installed apps cannot be listed", "err", err)
		}
		for _, in := range installed {
			var subscriptions []subscriptionView
			list, _ := c.shard.Subscriptions(p, in.ID) // none if it was just deleted
			for _, sub := range list {
				v := subscriptionView{Subscription: sub}
				if sub.Source == subscription.Device || sub.Source == subscription.Capability {
					v.Asks = sub.Capability + "." + sub.Attribute
				}
				subscriptions = append(subscriptions, v)
			}
			app.Installed = append(app.Installed, installedView{in, subscriptions, c.shard.Delivery().Status(in), c.shard.Delivery().Gaps(in.ID)})
		}
		v.Apps = append(v.Apps, app)
	}
	return v
}

func (c *Console) attributes(p scope.Principal, d *home.Device) []attributeView {
	state, _, err := c.shard.State(p, d.ID)
	if err != nil {
		return nil // it was just deleted
	}
	var list []attributeView
	for _, a := range state {
		v := attributeView{Attribute: a, Text: strings.TrimSpace(a.Value.Text() + " " + a.Unit)}
		definition, ok := c.directory.Capabilities.Capability(a.Capability)
		if ok && d.Type == home.Virtual && p.May(scope.Device("w", d.ID)) {
			values := definition.Attributes[a.Attribute].Schema.Properties["value"].Enum
			for _, e := range values {
				if s, isText := e.(string); isText && len(values) <= maxChoices && (s != a.Value.Text() || capability.Momentary(a.Capability, a.Attribute)) {
					v.Choices = append(v.Choices, s)
				}
			}
		}
		list = append(list, v)
	}
	return list
}
