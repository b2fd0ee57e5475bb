package httpapi

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/signature"
)

type iconImage struct {
	URL string `json:"url"`
}

type owner struct {
	Type string `json:"ownerType"`
	ID   string `json:"ownerId"`
}

type webhookSmartApp struct {
	TargetURL     string `json:"targetUrl"`
	TargetStatus  string `json:"targetStatus"`
	PublicKey     string `json:"publicKey"`
	SignatureType string `json:"signatureType"`
}

type apiSubscription struct {
	TargetURL    string `json:"targetUrl"`
	TargetStatus string `json:"targetStatus"`
}

type apiOnly struct {
	Subscription *apiSubscription `json:"subscription,omitempty"`
}

// appView is an app as the API shows it (reference 5.1).
type appView struct {
	AppName         string            `json:"appName"`
	AppID           id.App            `json:"appId"`
	AppType         string            `json:"appType"`
	PrincipalType   string            `json:"principalType"`
	Classifications []string          `json:"classifications"`
	DisplayName     string            `json:"displayName"`
	Description     string            `json:"description"`
	SingleInstance  bool              `json:"singleInstance"`
	IconImage       iconImage         `json:"iconImage"`
	InstallMetadata map[string]string `json:"installMetadata"`
	Owner           owner             `json:"owner"`
	Created         time.Time         `json:"createdDate"`
	LastUpdated     time.Time         `json:"lastUpdatedDate"`
	UI              map[string]any    `json:"ui,omitempty"`
	WebhookSmartApp *webhookSmartApp  `json:"webhookSmartApp,omitempty"`
	APIOnly         *apiOnly          `json:"apiOnly,omitempty"`
}

// viewApp shows an app. PublicKey is the PEM that it verifies by under APP_RSA.
func viewApp(a *apps.App, publicKey string) appView {
	v := appView{
		AppName: a.Name, AppID: a.ID, AppType: a.Type, PrincipalType: a.PrincipalType, Classifications: a.Classifications,
		DisplayName: a.DisplayName, Description: a.Description, SingleInstance: a.SingleInstance, IconImage: iconImage{a.IconURL},
		InstallMetadata: a.InstallMetadata, Owner: owner{"USER", a.Owner.String()}, Created: a.Created, LastUpdated: a.LastUpdated, UI: a.UI,
	}
	if v.InstallMetadata == nil {
		v.InstallMetadata = map[string]string{}
	}
	if a.SmartApp() {
		v.WebhookSmartApp = &webhookSmartApp{a.TargetURL, a.TargetStatus, publicKey, a.SignatureType}
		return v
	}
	v.APIOnly = new(apiOnly)
	if a.TargetURL != "" {
		v.APIOnly.Subscription = &apiSubscription{a.TargetURL, a.TargetStatus}
	}
	return v
}

func (c *call) viewApp(a *apps.App) (any, error) {
	key, err := c.directory.KeyOf(c.Context(), a, signature.RSA)
	if err != nil {
		return nil, err
	}
	return viewApp(a, key.PublicKey()), nil
}

type oauthBody struct {
	ClientName   string   `json:"clientName"`
	Scope        []string `json:"scope"`
	RedirectURIs []string `json:"redirectUris"`
	Public       bool     `json:"public,omitempty"` // hark's own: a client without a secret, which must use PKCE
}

func (b *oauthBody) apply(o *apps.OAuth) error {
	set, err := scope.ParseSet(b.Scope)
	if err != nil {
		return err
	}
	o.ClientName, o.Scope, o.RedirectURIs, o.Public = cmp.Or(b.ClientName, o.ClientName), set, b.RedirectURIs, b.Public
	return o.Check()
}

func viewOAuth(o apps.OAuth) oauthBody {
	v := oauthBody{o.ClientName, o.Scope.Strings(), o.RedirectURIs, o.Public}
	if v.RedirectURIs == nil {
		v.RedirectURIs = []string{}
	}
	return v
}

// appBody is an app as a developer sends it (reference 5.1). The target of an API-access app
// is flat in requests and nested in answers; both are read.
type appBody struct {
	AppName         *string           `json:"appName"`
	AppType         *string           `json:"appType"`
	PrincipalType   string            `json:"principalType"`
	DisplayName     *string           `json:"displayName"`
	Description     *string           `json:"description"`
	Classifications []string          `json:"classifications"`
	SingleInstance  *bool             `json:"singleInstance"`
	IconImage       *iconImage        `json:"iconImage"`
	InstallMetadata map[string]string `json:"installMetadata"`
	UI              map[string]any    `json:"ui"`
	WebhookSmartApp *struct {
		TargetURL     string `json:"targetUrl"`
		SignatureType string `json:"signatureType"`
	} `json:"webhookSmartApp"`
	APIOnly *struct {
		TargetURL    string           `json:"targetUrl"`
		Subscription *apiSubscription `json:"subscription"`
	} `json:"apiOnly"`
	OAuth *oauthBody `json:"oauth"`
}

func (b *appBody) apply(a *apps.App) error {
	for to, from := range map[*string]*string{&a.Name: b.AppName, &a.Type: b.AppType, &a.DisplayName: b.DisplayName, &a.Description: b.Description} {
		if from != nil {
			*to = *from
		}
	}
	if b.SingleInstance != nil {
		a.SingleInstance = *b.SingleInstance
	}
	if b.IconImage != nil {
		a.IconURL = b.IconImage.URL
	}
	if b.Classifications != nil {
		a.Classifications = b.Classifications
	}
	if b.InstallMetadata != nil {
		a.InstallMetadata = b.InstallMetadata
	}
	if b.UI != nil {
		a.UI = b.UI
	}
	a.PrincipalType = cmp.Or(b.PrincipalType, a.PrincipalType, "LOCATION")
	if w := b.WebhookSmartApp; w != nil && a.SmartApp() {
		a.TargetURL, a.SignatureType = w.TargetURL, cmp.Or(w.SignatureType, a.SignatureType)
	}
	if o := b.APIOnly; o != nil && !a.SmartApp() {
		a.TargetURL = o.TargetURL
		if o.Subscription != nil {
			a.TargetURL = cmp.Or(a.TargetURL, o.Subscription.TargetURL)
		}
	}
	if b.OAuth != nil {
		return b.OAuth.apply(&a.OAuth)
	}
	return nil
}

type createdApp struct {
	App          any    `json:"app"`
	ClientID     string `json:"oauthClientId"`
	ClientSecret string `json:"oauthClientSecret"`
}

func (c *call) createApp() (any, error) {
	var body appBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	q := c.query()
	draft := &apps.App{Classifications: []string{}}
	if err := body.apply(draft); err != nil {
		return nil, err
	}
	if draft.SignatureType == "" {
		draft.SignatureType = q.Get("signatureType")
	}
	if draft.SignatureType == "" {
		// Clients that do not choose are older ones, which verify by webhookSmartApp.publicKey
		// (client requirements, "Webhook requests").
		draft.SignatureType = apps.AppRSA
		if !draft.SmartApp() {
			draft.SignatureType = apps.STPadlock
		}
	}
	a, secret, err := c.lifecycle.CreateApp(c.Context(), c.principal, draft, q.Get("requireConfirmation") == "true")
	if err != nil {
		return nil, err
	}
	view, err := c.viewApp(a)
	if err != nil {
		return nil, err
	}
	return createdApp{view, a.OAuth.ClientID, secret}, nil
}

func (c *call) listApps() (any, error) {
	types, classes := c.list("appType"), c.list("classification")
	list, err := c.directory.Apps(c.principal, func(a *apps.App) bool {
		return wanted(types, a.Type) && (len(classes) == 0 || overlap(classes, a.Classifications))
	})
	if err != nil {
		return nil, err
	}
	if _, err := c.directory.Keys(c.Context()); err != nil { // from here on there is one
		return nil, err
	}
	return paged(c, list, func(a *apps.App) any {
		view, _ := c.viewApp(a)
		return view
	})
}

func (c *call) getApp() (any, error) {
	a, err := c.directory.FindApp(c.principal, c.PathValue("app"))
	if err != nil {
		return nil, err
	}
	return c.viewApp(a)
}

func (c *call) updateApp() (any, error) {
	var body appBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.lifecycle.UpdateApp(c.Context(), c.principal, c.PathValue("app"), func(a *apps.App) error {
		if body.AppType != nil && *body.AppType != a.Type {
			return problem.Field("appType", "ConstraintViolationError", "an app keeps its type; this one is a %s", a.Type)
		}
		return body.apply(a)
	})
	if err != nil {
		return nil, err
	}
	return c.viewApp(a)
}

// nothing is the answer of a success that has nothing to say.
type nothing struct{}

func (c *call) deleteApp() (any, error) {
	return nothing{}, c.lifecycle.DeleteApp(c.Context(), c.principal, c.PathValue("app"))
}

func (c *call) registerApp() (any, error) {
	return nothing{}, c.lifecycle.Register(c.Context(), c.principal, c.PathValue("app"))
}

func (c *call) confirmApp() (any, error) {
	a, err := c.lifecycle.ConfirmWithout(c.Context(), c.principal, c.PathValue("app"))
	if err != nil {
		return nil, err
	}
	return c.viewApp(a)
}

func (c *call) confirmRegistration() (any, error) {
	app, err := pathID[id.App](c, "app")
	if err != nil {
		return nil, err
	}
	a, err := c.lifecycle.Confirm(c.Context(), app, c.query().Get("token"))
	if err != nil {
		return nil, err
	}
	return map[string]string{"targetUrl": a.TargetURL}, nil
}

// signingKey is the key server: keyHost + keyId (reference 3.8).
func (c *call) signingKey() (any, error) {
	key, err := c.directory.FindKey(c.Context(), "/pl/"+c.PathValue("region")+"/"+c.PathValue("fingerprint"))
	if err != nil {
		return nil, err
	}
	c.Header().Set("Content-Type", "application/x-pem-file")
	c.WriteHeader(http.StatusOK)
	io.WriteString(c.ResponseWriter, key.Certificate()) // the client is gone
	return nil, nil
}

func (c *call) setSignatureType() (any, error) {
	var body struct {
		SignatureType string `json:"signatureType"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.directory.SetSignatureType(c.Context(), c.principal, c.PathValue("app"), body.SignatureType)
	if err != nil {
		return nil, err
	}
	return c.viewApp(a)
}

type settingsBody struct {
	Settings map[string]string `json:"settings"`
}

func viewSettings(a *apps.App) settingsBody {
	if a.Settings == nil {
		return settingsBody{map[string]string{}}
	}
	return settingsBody{a.Settings}
}

func (c *call) getSettings() (any, error) {
	a, err := c.directory.FindApp(c.principal, c.PathValue("app"))
	if err != nil {
		return nil, err
	}
	return viewSettings(a), nil
}

func (c *call) setSettings() (any, error) {
	var body settingsBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.directory.UpdateApp(c.Context(), c.principal, c.PathValue("app"), func(a *apps.App) error {
		a.Settings = maps.Clone(body.Settings)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return viewSettings(a), nil
}

func (c *call) getOAuth() (any, error) {
	a, err := c.directory.FindApp(c.principal, c.PathValue("app"))
	if err != nil {
		return nil, err
	}
	return viewOAuth(a.OAuth), nil
}

func (c *call) setOAuth() (any, error) {
	var body oauthBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.directory.UpdateApp(c.Context(), c.principal, c.PathValue("app"), func(a *apps.App) error { return body.apply(&a.OAuth) })
	if err != nil {
		return nil, err
	}
	return viewOAuth(a.OAuth), nil
}

type generatedOAuth struct {
	Details      oauthBody `json:"oauthClientDetails"`
	ClientID     string    `json:"oauthClientId"`
	ClientSecret string    `json:"oauthClientSecret"`
}

func (c *call) generateOAuth() (any, error) {
	var body oauthBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var scopes scope.Set
	if body.Scope != nil {
		var err error
		if scopes, err = scope.ParseSet(body.Scope); err != nil {
			return nil, err
		}
	}
	a, secret, err := c.directory.GenerateClient(c.Context(), c.principal, c.PathValue("app"), func(o *apps.OAuth) {
		o.ClientName = cmp.Or(body.ClientName, o.ClientName)
		if scopes != nil {
			o.Scope = scopes
		}
	})
	if err != nil {
		return nil, err
	}
	return generatedOAuth{viewOAuth(a.OAuth), a.OAuth.ClientID, secret}, nil
}

// wanted reports whether v is in the list of a filter; an empty filter wants everything.
func wanted(list []string, v string) bool {
	if len(list) == 0 {
		return true
	}
	for _, w := range list {
		if strings.EqualFold(w, v) {
			return true
		}
	}
	return false
}

func overlap(a, b []string) bool {
	for _, v := range b {
		if wanted(a, v) {
			return true
		}
	}
	return false
}
