package apps

import (
	"slices"
	"time"

	"hark/internal/problem"
	"hark/internal/signature"
)

// The signature schemes.
const (
	SignRSA      = "RSA"               // the platform's own; the default
	SignECDSA    = "ECDSA"             // the same header with a P-256 key
	SignStandard = "STANDARD_WEBHOOKS" // webhook-id, webhook-timestamp, webhook-signature
)

// Delivery says how events go to an app. Zero members are the defaults.
type Delivery struct {
	// Timeout is how long the app may take to answer.
	Timeout Duration `json:"timeout,omitempty"`
	// MaxEvents is how many events one call may carry; 0 is one. Events gather for MaxDelay at most.
	MaxEvents int      `json:"maxEvents,omitempty"`
	MaxDelay  Duration `json:"maxDelay,omitempty"`
	// Signatures are the schemes that calls are signed by, several at once; none is RSA.
	Signatures []string `json:"signatures,omitempty"`
	// Secret signs by STANDARD_WEBHOOKS; OldSecret too, until OldSecretEnds.
	Secret        string    `json:"secret,omitempty"`
	OldSecret     string    `json:"oldSecret,omitempty"`
	OldSecretEnds time.Time `json:"oldSecretEnds,omitzero"`
	// Retries is when an event that the app refuses is tried again.
	Retries []Duration `json:"retries,omitzero"`
	// PauseAfter is how long the endpoint may be down before the app is paused.
	PauseAfter Duration `json:"pauseAfter,omitempty"`
}

// The defaults and bounds of deliveries.
const (
	DefaultTimeout    = 10 * time.Second // reference 3.6
	DefaultPauseAfter = 5 * 24 * time.Hour

	maxTimeout    = time.Minute
	maxEvents     = 1000
	maxDelay      = time.Minute
	maxRetries    = 20
	maxRetryDelay = 7 * 24 * time.Hour
	maxPauseAfter = 365 * 24 * time.Hour
)

// DefaultRetries is when an event that an app refuses is tried again. After the last time it is
// a dead letter.
var DefaultRetries = []Duration{
	Duration(5 * time.Second), Duration(5 * time.Minute), Duration(30 * time.Minute), Duration(2 * time.Hour), Duration(5 * time.Hour),
	Duration(10 * time.Hour), Duration(14 * time.Hour), Duration(20 * time.Hour), Duration(24 * time.Hour),
}

// Duration is written as Go writes one: "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return problem.New(problem.Invalid, "%.40q is no duration; write one as 500ms, 10s, 5m or 24h", text).Coded("PatternError")
	}
	*d = Duration(v)
	return nil
}

// WithDefaults returns the settings in force.
func (d Delivery) WithDefaults() Delivery {
	if d.Timeout == 0 {
		d.Timeout = Duration(DefaultTimeout)
	}
	if d.MaxEvents == 0 {
		d.MaxEvents = 1
	}
	if len(d.Signatures) == 0 {
		d.Signatures = []string{SignRSA}
	}
	if d.Retries == nil {
		d.Retries = DefaultRetries
	}
	if d.PauseAfter == 0 {
		d.PauseAfter = Duration(DefaultPauseAfter)
	}
	return d
}

// Signs reports whether calls are signed by the scheme.
func (d Delivery) Signs(scheme string) bool {
	return len(d.Signatures) == 0 && scheme == SignRSA || slices.Contains(d.Signatures, scheme)
}

// Secrets returns those that sign by STANDARD_WEBHOOKS at the time.
func (d Delivery) Secrets(now time.Time) []string {
	if d.OldSecret != "" && now.Before(d.OldSecretEnds) {
		return []string{d.Secret, d.OldSecret}
	}
	return []string{d.Secret}
}

// Check reports what is wrong with the settings.
func (d Delivery) Check() error {
	for _, bound := range []struct {
		field  string
		is     Duration
		lowest time.Duration
		most   time.Duration
	}{
		{"timeout", d.Timeout, 100 * time.Millisecond, maxTimeout},
		{"maxDelay", d.MaxDelay, 0, maxDelay},
		{"pauseAfter", d.PauseAfter, time.Minute, maxPauseAfter},
	} {
		if bound.is != 0 && (time.Duration(bound.is) < bound.lowest || time.Duration(bound.is) > bound.most) {
			return problem.Field(bound.field, "SizeError", "is %v; it may be %v to %v", time.Duration(bound.is), bound.lowest, bound.most)
		}
	}
	if d.MaxEvents < 0 || d.MaxEvents > maxEvents {
		return problem.Field("maxEvents", "SizeError", "is %d; one call may carry 1 to %d events", d.MaxEvents, maxEvents)
	}
	if len(d.Retries) > maxRetries {
		return problem.Field("retries", "SizeError", "has %d entries, the maximum is %d", len(d.Retries), maxRetries)
	}
	for _, r := range d.Retries {
		if r <= 0 || time.Duration(r) > maxRetryDelay {
			return problem.Field("retries", "SizeError", "has %v; each may be up to %v", time.Duration(r), maxRetryDelay)
		}
	}
	for _, s := range d.Signatures {
		if s != SignRSA && s != SignECDSA && s != SignStandard {
			return problem.Field("signatures", "PatternError", "%.40q is not one of %s, %s, %s", s, SignRSA, SignECDSA, SignStandard)
		}
	}
	if d.Signs(SignStandard) {
		if err := signature.CheckSecret(d.Secret); err != nil {
			return problem.Field("secret", "PatternError", "%v", err)
		}
	}
	return nil
}
