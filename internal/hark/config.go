package hark

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hark/internal/appcall"
	"hark/internal/certs"
	"hark/internal/engine"
	"hark/internal/lifecycle"
	"hark/internal/limits"
)

// Config is every setting of a server. Each field is a flag, an environment variable HARK_…
// and a key of the YAML file, all of the same name; `hark config` prints them with the
// values in force.
type Config struct {
	Listen         string        `help:"Address to listen on; port 0 takes a free one." default:"127.0.0.1:8080"`
	Data           string        `help:"Directory that keeps everything. hark dev without it forgets all when it stops." type:"path"`
	PublicURL      string        `help:"Where apps reach this server, as they see it; goes into confirmation URLs. Default: http:// and the address listened on." placeholder:"URL"`
	TLS            TLS           `embed:""`
	TrustForwarded bool          `help:"Believe X-Forwarded-Proto and X-Forwarded-Host. Only behind a proxy that sets them."`
	AutoConfirm    string        `help:"Which targets need no confirmation: none, loopback or any. Default: loopback for hark dev, none for hark serve." enum:",none,loopback,any" default:"" placeholder:"POLICY"`
	Egress         string        `help:"Where calls to apps may go: internet, lan (private addresses too) or any (this machine too). Default: any for hark dev, lan for hark serve." enum:",internet,lan,any" default:"" placeholder:"POLICY"`
	Retention      time.Duration `help:"How long events are kept for apps that are behind, and for history; 0 is for ever." default:"168h"`
	RetentionBytes int64         `help:"How many bytes of events are kept at most; 0 is no limit." default:"0" placeholder:"BYTES"`
	AttemptBytes   int64         `help:"How many bytes the log of attempts to deliver may take; the oldest go first." default:"67108864" placeholder:"BYTES"`
	MinFree        int64         `help:"How many bytes stay free on the data directory's disk: with fewer, reports are refused until there is room again; 0 does not look." default:"67108864" placeholder:"BYTES"`
	PlatformLimits bool          `help:"Rehearse the limits that the platform publishes: how many subscriptions, how many calls a minute, and so on. hark has none of them by itself."`
	LogLevel       string        `help:"What is logged at least: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat      string        `help:"How it is logged: text or json." enum:"text,json" default:"text"`
	Metrics        bool          `help:"Answer /metrics, for Prometheus. They count and time, and name nobody." default:"true" negatable:""`
	OTLPEndpoint   string        `help:"Where traces go by OTLP over HTTP, such as http://localhost:4318. Default: nowhere." name:"otlp-endpoint" placeholder:"URL"`
	TracePart      float64       `help:"The part of requests that is traced, 0 to 1. One that is part of a client's trace is if that is." default:"1"`
	OIDC           OIDC          `embed:"" prefix:"oidc-"`
	NATS           NATS          `embed:"" prefix:"nats-"`

	acmeClient *http.Client // of tests
}

// TLS says where the server answers by HTTPS, for the hosts that clients have built in too, and
// with which certificates.
type TLS struct {
	TLSListen     string   `help:"Address to answer by HTTPS on, besides. Certificates come from --tls-cert, --acme-hosts or the local authority that hark ca makes." placeholder:"ADDRESS"`
	TLSCert       string   `help:"File with the certificate, PEM, and those that vouch for it." type:"path" placeholder:"FILE"`
	TLSKey        string   `help:"File with the key of that certificate." type:"path" placeholder:"FILE"`
	ACMEHosts     []string `help:"Names of this server for which Let's Encrypt gives certificates. It must be reached by them on port 443." name:"acme-hosts" placeholder:"HOST"`
	ACMEEmail     string   `help:"Where Let's Encrypt writes about them." name:"acme-email" placeholder:"ADDRESS"`
	ACMEDirectory string   `help:"Address of another ACME authority." name:"acme-directory" placeholder:"URL"`
}

// OIDC says by which OpenID Connect provider people may sign in.
type OIDC struct {
	Issuer       string `help:"OpenID Connect provider by which people may sign in; each gets an account of their own. Register --public-url with /console/oidc/callback there." placeholder:"URL"`
	ClientID     string `help:"What the provider calls this server." name:"client-id" placeholder:"ID"`
	ClientSecret string `help:"The secret that goes with it; a client without one leaves it out." name:"client-secret" placeholder:"SECRET"`
	Name         string `help:"What the provider is called on the sign-in page." placeholder:"NAME"`
}

// NATS says which existing NATS server or cluster to use instead of the embedded engine.
type NATS struct {
	URL      string `help:"Existing NATS servers with JetStream, nats://host:port, several joined by commas. Default: the embedded engine." placeholder:"URL"`
	Creds    string `help:"File with NATS user credentials." type:"path" placeholder:"FILE"`
	CA       string `help:"File with the certificate authority of the NATS servers." type:"path" placeholder:"FILE"`
	Cert     string `help:"File with the certificate that hark shows to the NATS servers." type:"path" placeholder:"FILE"`
	Key      string `help:"File with the key of that certificate." type:"path" placeholder:"FILE"`
	Replicas int    `help:"Copies that the cluster keeps of everything." default:"1"`
}

func (c Config) engine() engine.Config {
	return engine.Config{Dir: c.Data, URL: c.NATS.URL, Creds: c.NATS.Creds, CA: c.NATS.CA, Cert: c.NATS.Cert, Key: c.NATS.Key, Replicas: c.NATS.Replicas, MinFree: c.MinFree}
}

func (c Config) certs() certs.Config {
	return certs.Config{Cert: c.TLS.TLSCert, Key: c.TLS.TLSKey, ACMEHosts: c.TLS.ACMEHosts, ACMEEmail: c.TLS.ACMEEmail, ACMEDirectory: c.TLS.ACMEDirectory,
		ACMEClient: c.acmeClient, Dir: c.Data}
}

// egress returns where calls to apps may go: a demo's apps are on this machine.
func (c Config) egress(purpose Purpose) appcall.Egress {
	switch {
	case c.Egress != "":
		return appcall.Egress(c.Egress)
	case purpose == Demo:
		return appcall.EgressAny
	}
	return appcall.EgressLAN
}

// limits are the guardrails in force.
func (c Config) limits() limits.Limits {
	if c.PlatformLimits {
		return limits.Platform
	}
	return limits.Limits{}
}

// validate reports settings that cannot be, with what would be right.
func (c Config) validate() error {
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("--public-url %q is not a URL such as https://hark.example.org", c.PublicURL)
		}
	}
	if c.Retention < 0 || c.Retention > 0 && c.Retention < time.Minute {
		return fmt.Errorf("--retention %v is too short; it is 0 or at least 1m", c.Retention)
	}
	if c.TracePart < 0 || c.TracePart > 1 {
		return fmt.Errorf("--trace-part %v is not a part of requests, 0 to 1", c.TracePart)
	}
	if (c.OIDC.Issuer == "") != (c.OIDC.ClientID == "") {
		return fmt.Errorf("--oidc-issuer and --oidc-client-id go together")
	}
	if (c.TLS.TLSCert == "") != (c.TLS.TLSKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key go together")
	}
	if c.TLS.TLSListen == "" && (c.TLS.TLSCert != "" || len(c.TLS.ACMEHosts) > 0) {
		return fmt.Errorf("there is a certificate, but --tls-listen says not where to use it, such as 0.0.0.0:443")
	}
	if (c.NATS.Cert == "") != (c.NATS.Key == "") {
		return fmt.Errorf("--nats-cert and --nats-key go together")
	}
	if c.NATS.Replicas < 1 || c.NATS.Replicas > 5 {
		return fmt.Errorf("--nats-replicas %d is not 1 to 5", c.NATS.Replicas)
	}
	if c.NATS.URL == "" && c.NATS.Replicas > 1 {
		return fmt.Errorf("--nats-replicas %d needs --nats-url: the embedded engine is one server and keeps one copy", c.NATS.Replicas)
	}
	return nil
}

// Logger returns the logger that the configuration describes.
func (c Config) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(c.LogLevel))); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// autoConfirm returns the policy, or otherwise when none is set.
func (c Config) autoConfirm(otherwise string) string {
	if c.AutoConfirm != "" {
		return c.AutoConfirm
	}
	if otherwise == "" {
		return lifecycle.ConfirmNone
	}
	return otherwise
}
