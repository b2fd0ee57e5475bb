// Package apps has the nouns of the developer's side: an app as it is registered, and an
// app as a person installed it, with its configuration and permissions. Values of these
// types are shared between goroutines and replaced whole, never changed in place.
package apps

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

// The types of app (reference 5.1).
const (
	WebhookSmartApp = "WEBHOOK_SMART_APP"
	LambdaSmartApp  = "LAMBDA_SMART_APP"
	APIOnly         = "API_ONLY"
)

// The states of a target URL (reference 3.9).
const (
	Pending   = "PENDING"
	Confirmed = "CONFIRMED"
)

// The signature types (reference 3.8).
const (
	AppRSA    = "APP_RSA"
	STPadlock = "ST_PADLOCK"
)

// App is an app as its developer registered it.
type App struct {
	ID              id.App            `json:"appId"`
	Name            string            `json:"appName"`
	Type            string            `json:"appType"`
	PrincipalType   string            `json:"principalType"`
	DisplayName     string            `json:"displayName"`
	Description     string            `json:"description"`
	Classifications []string          `json:"classifications"`
	SingleInstance  bool              `json:"singleInstance"`
	IconURL         string            `json:"iconUrl,omitempty"`
	InstallMetadata map[string]string `json:"installMetadata,omitempty"`
	UI              map[string]any    `json:"ui,omitempty"`
	Owner           id.Account        `json:"owner"`
	Created         time.Time         `json:"createdDate"`
	LastUpdated     time.Time         `json:"lastUpdatedDate"`

	TargetURL     string `json:"targetUrl,omitempty"`
	TargetStatus  string `json:"targetStatus,omitempty"`
	SignatureType string `json:"signatureType,omitempty"`
	// Key names the key whose public part the app was given, for APP_RSA; "" is the server's first.
	Key string `json:"key,omitempty"`
	// Delivery says how events go to the target.
	Delivery Delivery `json:"delivery,omitzero"`
	// Ping says that the target is proved by PING when it changes, not by CONFIRMATION:
	// the app was made without requireConfirmation.
	Ping bool `json:"ping,omitempty"`
	// ConfirmationHash is the SHA-256 of the confirmation token that is out, in hex, good
	// until ConfirmationExpires.
	ConfirmationHash    string    `json:"confirmationHash,omitempty"`
	ConfirmationExpires time.Time `json:"confirmationExpires,omitzero"`

	Settings map[string]string `json:"settings,omitempty"`
	OAuth    OAuth             `json:"oauth"`
}

// OAuth is an app's OAuth client (reference 5.1). Only a hash of its secret is kept.
type OAuth struct {
	ClientName   string    `json:"clientName"`
	Scope        scope.Set `json:"scope"`
	RedirectURIs []string  `json:"redirectUris"`
	ClientID     string    `json:"clientId,omitempty"`
	SecretHash   string    `json:"secretHash,omitempty"`
	// Public says that the client cannot keep a secret: it proves itself by PKCE instead.
	Public bool `json:"public,omitempty"`
}

// UserLevel is the principal type of a client that acts for a person, not for an installed app.
const UserLevel = "USER_LEVEL"

// CLI is the official command line, a client that every server knows (client requirements,
// "OAuth").
var CLI = &App{
	ID: clientID[id.App]("d18cf96e-c626-4433-bf51-ddbb10c5d1ed"), Name: "smartthings-cli", DisplayName: "SmartThings CLI", Type: APIOnly, PrincipalType: UserLevel,
	OAuth: OAuth{ClientName: "SmartThings CLI", ClientID: "d18cf96e-c626-4433-bf51-ddbb10c5d1ed", Public: true, Scope: scope.Set{"controller:stCli"},
		RedirectURIs: []string{"http://localhost:61973/finish", "http://localhost:61974/finish", "http://localhost:61975/finish"}},
}

func clientID[I ~[16]byte](text string) I {
	v, err := id.Parse[I](text)
	if err != nil {
		panic(err) // a constant
	}
	return v
}

// SmartApp reports whether the app speaks in lifecycles, and not as an API-access app.
func (a *App) SmartApp() bool { return a.Type != APIOnly }

// Deliverable returns nil when events may be sent to the app's target, else why not and
// what would help.
func (a *App) Deliverable() error {
	switch {
	case a.TargetURL == "":
		return problem.New(problem.Constraint, "App %s has no target URL, so hark has nowhere to send its events. Set one with PUT /apps/%s.", a.Name, a.ID)
	case a.TargetStatus != Confirmed:
		return problem.New(problem.Constraint, "The target %s of app %s is PENDING: nothing is delivered to it until somebody opens the confirmation URL that "+
			"hark sent there. PUT /apps/%s/register sends a new one.", a.TargetURL, a.Name, a.ID).At("targetStatus")
	}
	return nil
}

var appName = regexp.MustCompile(`^[a-z0-9._-]{1,250}$`)
var classifications = []string{"AUTOMATION", "SERVICE", "DEVICE", "CONNECTED_SERVICE", "HIDDEN", "LABS"}

// Check reports what is wrong with an app as a developer gave it (reference 5.1, "Rules").
func (a *App) Check() error {
	switch {
	case !appName.MatchString(a.Name):
		return problem.Field("appName", "PatternError", "%.260q is not 1 to 250 of the characters a-z 0-9 . - _", a.Name)
	case a.Type == LambdaSmartApp:
		return problem.New(problem.Unsupported, "hark does not call AWS Lambda functions. Make the app a %s; the official SDK serves both with the same handlers.", WebhookSmartApp).
			At("appType").Coded("UnsupportedOperationError")
	case a.Type != WebhookSmartApp && a.Type != APIOnly:
		return problem.Field("appType", "PatternError", "%.60q is not one of %s, %s", a.Type, WebhookSmartApp, APIOnly)
	case len(a.DisplayName) > 75:
		return problem.Field("displayName", "SizeError", "has %d characters, the maximum is 75", len(a.DisplayName))
	case len(a.Description) > 250:
		return problem.Field("description", "SizeError", "has %d characters, the maximum is 250", len(a.Description))
	case a.Type == WebhookSmartApp && a.TargetURL == "":
		return problem.Field("webhookSmartApp.targetUrl", "NotEmptyError", "is missing; a %s is called there", WebhookSmartApp)
	case a.SignatureType != AppRSA && a.SignatureType != STPadlock:
		return problem.Field("webhookSmartApp.signatureType", "PatternError", "%.60q is not one of %s, %s", a.SignatureType, AppRSA, STPadlock)
	}
	for _, c := range a.Classifications {
		if !slices.Contains(classifications, c) {
			return problem.Field("classifications", "PatternError", "%.60q is not one of %v", c, classifications)
		}
	}
	if a.TargetURL != "" {
		if err := CheckTarget("targetUrl", a.TargetURL); err != nil {
			return err
		}
	}
	if err := a.Delivery.Check(); err != nil {
		return err
	}
	return a.OAuth.Check()
}

// unsafeSchemes are those of URLs that lead to no app.
var unsafeSchemes = []string{"javascript", "data", "vbscript", "file", "blob", "about"}

// Check reports what is wrong with an OAuth client's details.
func (o *OAuth) Check() error {
	if len(o.RedirectURIs) > 10 {
		return problem.Field("redirectUris", "SizeError", "has %d entries, the maximum is 10", len(o.RedirectURIs))
	}
	for _, u := range o.RedirectURIs {
		if parsed, err := url.Parse(u); err != nil || !parsed.IsAbs() || parsed.Fragment != "" {
			return problem.Field("redirectUris", "PatternError", "%.200q is not an absolute URL without a fragment", u)
		} else if slices.Contains(unsafeSchemes, strings.ToLower(parsed.Scheme)) {
			return problem.Field("redirectUris", "PatternError", "%.200q begins with %s:, which runs or opens something at the person's browser instead of leading to an app", u, parsed.Scheme)
		}
	}
	return nil
}

// CheckTarget reports what is wrong with a webhook's URL, which a field has.
func CheckTarget(field, target string) error {
	u, err := url.Parse(target)
	switch {
	case err != nil || len(target) > 2048:
		return problem.Field(field, "PatternError", "%.200q is not a URL of at most 2048 characters", target)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return problem.Field(field, "PatternError", "%.200q is not an http or https URL", target)
	case u.User != nil || u.Fragment != "":
		return problem.Field(field, "PatternError", "%.200q holds a user name or a fragment, which cannot be sent", target)
	}
	return nil
}
