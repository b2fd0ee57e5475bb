package lifecycle

import (
	"context"
	"encoding/json"
	"time"

	"hark/internal/apps"
	"hark/internal/configuration"
	"hark/internal/envelope"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

// Configuring is one way of a person through an app's configuration pages. The installed app
// need not exist yet, but has its id.
type Configuring struct {
	App       *apps.App
	Installed id.InstalledApp
	Locale    string // such as en
}

// configure asks the app and returns its answer.
func (m *Manager) configure(ctx context.Context, c Configuring, data envelope.ConfigurationData) ([]byte, error) {
	data.InstalledApp = c.Installed
	if data.Config == nil {
		data.Config = apps.Config{}
	}
	answer, err := m.call(ctx, c.App, envelope.Configuration, envelope.Call{
		Locale: c.Locale, ConfigurationData: &data,
		Client: &envelope.Client{OS: "web", Version: "1.0.0", Language: c.Locale, DisplayMode: "LIGHT", SupportedTemplates: []string{"BASIC_V1"}},
	})
	if err != nil {
		return nil, refused(err, "The app did not answer CONFIGURATION "+data.Phase)
	}
	return answer, nil
}

// Initialize asks the app what it is and what it wants.
func (m *Manager) Initialize(ctx context.Context, c Configuring, config apps.Config) (*configuration.Initialize, error) {
	if err := c.App.Deliverable(); err != nil {
		return nil, err
	}
	answer, err := m.configure(ctx, c, envelope.ConfigurationData{Phase: "INITIALIZE", Config: config})
	if err != nil {
		return nil, m.failed(c, "INITIALIZE", err)
	}
	init, err := configuration.ParseInitialize(answer)
	return init, m.failed(c, "INITIALIZE", err)
}

// Page asks the app for a page. Previous is the page that was just completed; the same as page
// when it is shown again because something changed.
func (m *Manager) Page(ctx context.Context, c Configuring, page, previous string, config apps.Config) (*configuration.Page, error) {
	answer, err := m.configure(ctx, c, envelope.ConfigurationData{Phase: "PAGE", PageID: page, PreviousID: previous, Config: config})
	if err != nil {
		return nil, m.failed(c, "PAGE "+page, err)
	}
	p, err := configuration.ParsePage(answer)
	return p, m.failed(c, "PAGE "+page, err)
}

// failed notes in the log why a person cannot go on.
func (m *Manager) failed(c Configuring, phase string, err error) error {
	if err != nil {
		m.log.Warn("an app's configuration cannot go on", "app", c.App.Name, "target", c.App.TargetURL, "installedApp", c.Installed, "phase", phase, "err", err)
	}
	return err
}

// CallBack tells the app that the person came back from a third party, at an address relative
// to hark's callback.
func (m *Manager) CallBack(ctx context.Context, c Configuring, urlPath string) error {
	data := &envelope.OAuthCallbackData{InstalledApp: c.Installed, URLPath: urlPath}
	_, err := m.call(ctx, c.App, envelope.OAuthCallback, envelope.Call{Locale: c.Locale, OAuthCallbackData: data, OtherCallbackData: data})
	if err != nil {
		return m.failed(c, "OAUTH_CALLBACK", refused(err, "The app did not take the way back from the third party"))
	}
	return nil
}

// Execute asks an installed SmartApp to do something, and returns what its executeData answers.
func (m *Manager) Execute(ctx context.Context, p scope.Principal, installed id.InstalledApp, parameters map[string]any) (json.RawMessage, error) {
	in, err := m.shard.FindInstalled(p, installed, "w")
	if err != nil {
		return nil, err
	}
	app, ok := m.directory.App(in.App)
	if !ok || !app.SmartApp() {
		return nil, problem.New(problem.Constraint, "Only SmartApps can be executed; this installed app is none.").At("installedAppId")
	}
	if err := app.Deliverable(); err != nil {
		return nil, err
	}
	if parameters == nil {
		parameters = map[string]any{}
	}
	locale, _ := parameters["locale"].(string)
	answer, err := m.call(ctx, app, envelope.Execute, envelope.Call{Locale: locale, ExecuteData: &envelope.ExecuteData{
		AuthToken: m.directory.EventToken(in.ID, time.Now()), InstalledApp: envelope.Describe(app, in), Parameters: parameters,
	}})
	if err != nil {
		return nil, refused(err, "The app did not execute")
	}
	var got struct {
		ExecuteData json.RawMessage `json:"executeData"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, problem.New(problem.Constraint, "The app answers EXECUTE with no JSON: %.200q.", answer)
	}
	return got.ExecuteData, nil
}
