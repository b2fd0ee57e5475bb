package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/id"
	"hark/internal/lifecycle"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// installedView is an installed app as the API shows it (reference 5.2). Permissions are
// hark's own member.
type installedView struct {
	InstalledAppID   id.InstalledApp `json:"installedAppId"`
	InstalledAppType string          `json:"installedAppType"`
	Status           string          `json:"installedAppStatus"`
	DisplayName      string          `json:"displayName"`
	AppID            id.App          `json:"appId"`
	ReferenceID      string          `json:"referenceId"`
	LocationID       id.Location     `json:"locationId"`
	Owner            owner           `json:"owner"`
	Notices          []struct{}      `json:"notices"`
	Created          time.Time       `json:"createdDate"`
	LastUpdated      time.Time       `json:"lastUpdatedDate"`
	UI               map[string]any  `json:"ui"`
	IconImage        iconImage       `json:"iconImage"`
	Classifications  []string        `json:"classifications"`
	PrincipalType    string          `json:"principalType"`
	SingleInstance   bool            `json:"singleInstance"`
	RestrictionTier  int             `json:"restrictionTier"`
	Permissions      scope.Set       `json:"permissions"`
}

func (c *call) viewInstalled(in *apps.Installed) any {
	v := installedView{
		InstalledAppID: in.ID, Status: in.Status, DisplayName: in.DisplayName, AppID: in.App, LocationID: in.Location,
		Owner: owner{"USER", c.directory.Account().String()}, Notices: []struct{}{}, Created: in.Created, LastUpdated: in.LastUpdated,
		UI: map[string]any{}, Classifications: []string{}, Permissions: in.Permissions,
	}
	if a, ok := c.directory.App(in.App); ok {
		v.InstalledAppType, v.PrincipalType, v.SingleInstance, v.IconImage = a.Type, a.PrincipalType, a.SingleInstance, iconImage{a.IconURL}
		if a.Classifications != nil {
			v.Classifications = a.Classifications
		}
	}
	return v
}

type configurationView struct {
	InstalledAppID  id.InstalledApp  `json:"installedAppId"`
	ConfigurationID id.Configuration `json:"configurationId"`
	Status          string           `json:"configurationStatus"`
	Created         time.Time        `json:"createdDate"`
	LastUpdated     time.Time        `json:"lastUpdatedDate"`
	Config          apps.Config      `json:"config,omitempty"`
	Permissions     scope.Set        `json:"permissions,omitempty"`
}

func viewConfiguration(in *apps.Installed) configurationView {
	return configurationView{in.ID, in.Configuration, "AUTHORIZED", in.Created, in.LastUpdated, in.Config, in.Permissions}
}

// tokensView has the shape of the token endpoint's answer (reference 6.2).
type tokensView struct {
	AccessToken    string          `json:"access_token"`
	TokenType      string          `json:"token_type"`
	RefreshToken   string          `json:"refresh_token"`
	ExpiresIn      int             `json:"expires_in"`
	Scope          string          `json:"scope"`
	AccessTier     int             `json:"access_tier"`
	InstalledAppID id.InstalledApp `json:"installed_app_id"`
	Developer      string          `json:"developer_account_id"`
	IoT            string          `json:"iot_account_id"`
	Owner          string          `json:"owner_account_id"`
}

// viewTokens shows an installed app's tokens; the accounts are those of its developer and of
// whose home it is in.
func (c *call) viewTokens(in *apps.Installed, pair directory.Pair) *tokensView {
	home := c.directory.Account()
	if l, err := c.shard.Location(scope.Principal{Scopes: scope.All}, in.Location); err == nil && !l.Owner.IsZero() {
		home = l.Owner
	}
	developer := c.directory.Account()
	if a, ok := c.directory.App(in.App); ok {
		developer = a.Owner
	}
	return &tokensView{pair.Access, "bearer", pair.Refresh, secondsUntil(pair.Expires), strings.Join(in.Permissions.Strings(), " "), 0, in.ID, developer.String(), home.String(), home.String()}
}

func (c *call) installedID() (id.InstalledApp, error) {
	return pathID[id.InstalledApp](c, "installedApp")
}

func (c *call) listInstalled() (any, error) {
	locations, statuses, types, appIDs, devices := c.list("locationId"), c.list("installedAppStatus"), c.list("installedAppType"), c.list("appId"), c.list("deviceId")
	list, err := c.shard.InstalledApps(c.principal, func(in *apps.Installed) bool {
		if a, ok := c.directory.App(in.App); len(types) > 0 && (!ok || !wanted(types, a.Type)) {
			return false
		}
		if len(devices) > 0 {
			var chosen []string
			for _, d := range in.Config.Devices() {
				chosen = append(chosen, d.DeviceID.String())
			}
			if !overlap(devices, chosen) {
				return false
			}
		}
		return wanted(locations, in.Location.String()) && wanted(statuses, in.Status) && wanted(appIDs, in.App.String())
	})
	if err != nil {
		return nil, err
	}
	return paged(c, list, func(in *apps.Installed) any { return c.viewInstalled(in) })
}

type installBody struct {
	AppID       id.App      `json:"appId"`
	LocationID  id.Location `json:"locationId"`
	DisplayName string      `json:"displayName"`
	Config      apps.Config `json:"config"`
	Permissions []string    `json:"permissions"`
}

type installedBody struct {
	InstalledApp any               `json:"installedApp"`
	Detail       configurationView `json:"configurationDetail"`
	Tokens       *tokensView       `json:"tokens,omitempty"`
}

func (c *call) install() (any, error) {
	var body installBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.AppID.IsZero() {
		return nil, problem.Field("appId", "NotNullError", "is missing")
	}
	if body.LocationID.IsZero() {
		return nil, problem.Field("locationId", "NotNullError", "is missing")
	}
	permissions, err := permissionsOf(body.Permissions)
	if err != nil {
		return nil, err
	}
	in, pair, err := c.lifecycle.Install(c.Context(), c.principal, lifecycle.InstallRequest{
		App: body.AppID, Location: body.LocationID, DisplayName: body.DisplayName, Config: body.Config, Permissions: permissions,
	})
	if err != nil {
		return nil, err
	}
	answer := installedBody{InstalledApp: c.viewInstalled(in), Detail: viewConfiguration(in)}
	if a, ok := c.directory.App(in.App); ok && !a.SmartApp() {
		answer.Tokens = c.viewTokens(in, pair)
		c.warnIfPending(a)
	}
	return answer, nil
}

// warnIfPending adds a Warning header, which the official SDK logs, when events for the app
// cannot be delivered yet.
func (c *call) warnIfPending(a *apps.App) {
	if err := a.Deliverable(); err != nil {
		c.Header().Add("Warning", fmt.Sprintf("199 hark %q", err.Error()))
	}
}

// permissionsOf returns nil when the request names none.
func permissionsOf(texts []string) (scope.Set, error) {
	if texts == nil {
		return nil, nil
	}
	return scope.ParseSet(texts)
}

func (c *call) me() (any, error) {
	if !c.principal.IsApp() {
		return nil, problem.New(problem.Denied, "This is a personal access token; only an installed app's token has an installed app.")
	}
	return map[string]any{"installedAppId": c.principal.InstalledApp, "locationId": c.principal.Location, "scope": c.principal.Scopes.Strings()}, nil
}

func (c *call) getInstalled() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	return c.viewInstalled(in), nil
}

func (c *call) findInstalled(verb string) (*apps.Installed, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	return c.shard.FindInstalled(c.principal, app, verb)
}

func (c *call) renameInstalled() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	var body struct {
		DisplayName string `json:"displayName"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	in, err := c.shard.Rename(c.Context(), c.principal, app, body.DisplayName)
	if err != nil {
		return nil, err
	}
	return c.viewInstalled(in), nil
}

// counted is the answer of deletions.
type counted struct {
	Count int `json:"count"`
}

func (c *call) uninstall() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	return counted{1}, c.lifecycle.Uninstall(c.Context(), c.principal, app)
}

func (c *call) listConfigs() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	v := viewConfiguration(in)
	v.Config, v.Permissions = nil, nil
	return paged(c, []configurationView{v}, func(v configurationView) any { return v })
}

func (c *call) getConfig() (any, error) {
	in, err := c.findInstalled("r")
	if err != nil {
		return nil, err
	}
	if want := c.PathValue("configuration"); want != in.Configuration.String() && want != "current" {
		return nil, problem.New(problem.NotFound, "hark keeps the current configuration only, which is %s.", in.Configuration).At("configurationId")
	}
	v := viewConfiguration(in)
	if v.Config == nil {
		v.Config = apps.Config{}
	}
	return v, nil
}

func (c *call) reconfigure() (any, error) {
	var body struct {
		Config      apps.Config `json:"config"`
		Permissions []string    `json:"permissions"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.changeConfig(body.Config, body.Permissions)
}

// patchConfig changes single settings of the configuration.
func (c *call) patchConfig() (any, error) {
	in, err := c.findInstalled("w")
	if err != nil {
		return nil, err
	}
	var body struct {
		Removals    []string    `json:"removals"`
		Upserts     apps.Config `json:"upserts"`
		Config      apps.Config `json:"config"`
		Permissions []string    `json:"permissions"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	config := body.Config
	if config == nil {
		config = apps.Config{}
		maps.Copy(config, in.Config)
		for _, setting := range body.Removals {
			delete(config, setting)
		}
		maps.Copy(config, body.Upserts)
	}
	return c.changeConfig(config, body.Permissions)
}

func (c *call) changeConfig(config apps.Config, texts []string) (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	permissions, err := permissionsOf(texts)
	if err != nil {
		return nil, err
	}
	in, err := c.lifecycle.Reconfigure(c.Context(), c.principal, app, config, permissions)
	if err != nil {
		return nil, err
	}
	return viewConfiguration(in), nil
}

// executeInstalled asks a SmartApp to do something (reference 4.9); the path is hark's own.
func (c *call) executeInstalled() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	var body struct {
		Parameters map[string]any `json:"parameters"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	answer, err := c.lifecycle.Execute(c.Context(), c.principal, app, body.Parameters)
	return map[string]any{"executeData": answer}, err
}

func viewSubscription(s *subscription.Subscription) any { return s }

func (c *call) listSubscriptions() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	list, err := c.shard.Subscriptions(c.principal, app)
	if err != nil {
		return nil, err
	}
	return paged(c, list, viewSubscription)
}

func (c *call) subscribe() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	b, err := c.bytes(maxBody)
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, problem.New(problem.Invalid, "The body is not JSON.")
	}
	draft, err := subscription.ParseRequest(b)
	if err != nil {
		return nil, err
	}
	s, err := c.shard.Subscribe(c.Context(), c.principal, app, draft)
	if err != nil {
		return nil, err
	}
	if in, ok := c.shard.Installed(app); ok {
		if a, ok := c.directory.App(in.App); ok {
			c.warnIfPending(a)
		}
	}
	return viewSubscription(s), nil
}

// subscription returns the subscription in the path, by id or name.
func (c *call) subscription() (*subscription.Subscription, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	return c.shard.Subscription(c.principal, app, c.PathValue("subscription"))
}

func (c *call) getSubscription() (any, error) { return c.subscription() }

func (c *call) unsubscribe() (any, error) {
	s, err := c.subscription()
	if err != nil {
		return nil, err
	}
	n, err := c.shard.Unsubscribe(c.Context(), c.principal, *s.App, func(other *subscription.Subscription) bool { return other.ID == s.ID })
	return counted{n}, err
}

// unsubscribeAll deletes all, or those of a device, or takes a mode out (reference 1.7).
func (c *call) unsubscribeAll() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	mode, given, err := queryID[id.Mode](c, "modeId")
	if err != nil {
		return nil, err
	}
	if given {
		n, err := c.shard.LeaveMode(c.Context(), c.principal, app, mode)
		return counted{n}, err
	}
	device, given, err := queryID[id.Device](c, "deviceId")
	if err != nil {
		return nil, err
	}
	n, err := c.shard.Unsubscribe(c.Context(), c.principal, app, func(s *subscription.Subscription) bool {
		return !given || s.Source == subscription.Device && s.Device == device
	})
	return counted{n}, err
}
