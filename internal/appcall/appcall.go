// Package appcall makes one signed POST to an app's target and bounds the answer. Whether
// to try again is the caller's business; every attempt is signed anew.
package appcall

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/signature"
	"hark/internal/telemetry"
)

// Keys are the keys that calls are signed with.
type Keys interface {
	// KeyOf returns the key of the algorithm that signs calls to the app. It may take a while to exist.
	KeyOf(context.Context, *apps.App, signature.Algorithm) (*signature.Key, error)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Caller calls apps. It is safe for concurrent use.
type Caller struct {
	transport *http.Transport
	keys      Keys
	signing   chan struct{} // one token for each signature under way: signing is all processor
	tel       *telemetry.Telemetry
	unable    atomic.Pointer[error] // why the newest call could not be signed; nil when it could
}

// maxConnections bounds the connections to one host: an app is called one event at a time, but
// many apps may be behind one host.
const maxConnections = 256

// New returns a caller that signs with the keys, and calls only where the policy lets it.
func New(keys Keys, to Egress, tel *telemetry.Telemetry) *Caller {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Control: to.control}).DialContext,
		MaxConnsPerHost:     maxConnections,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
	}
	return &Caller{transport: transport, keys: keys, tel: tel, signing: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Err returns why calls cannot be signed, nil while they can.
func (c *Caller) Err() error {
	if err := c.unable.Load(); err != nil {
		return fmt.Errorf("calls to apps cannot be signed: %w", *err)
	}
	return nil
}

// Close lets go of idle connections.
func (c *Caller) Close() { c.transport.CloseIdleConnections() }

// Failure says how a call failed; its codes are the API's (reference 1.9).
type Failure struct {
	Code    string // TargetTimeoutError, TargetNon200Error or TargetUnreachableError
	Target  string // the URL called
	Status  int    // the answer's status, 0 without one
	Message string
	// RetryAfter is how long the app asks to be left alone, by a 429 or 503; 0 is not said.
	RetryAfter time.Duration
}

func (f *Failure) Error() string { return f.Message }

// Problem returns the failure as the refusal of a request that needed the call.
func (f *Failure) Problem(what string) *problem.Error {
	return problem.New(problem.Constraint, "%s: %s", what, f.Message).Coded("ConstraintViolationError").
		With(problem.Detail{Code: f.Code, Target: f.Target, Message: f.Message})
}

// Message is what an app is sent.
type Message struct {
	Body []byte
	// ID is the same in every attempt at the message; "" for one that is tried once.
	ID string
	// URL is where it goes instead of to the app's target; "" for there.
	URL string
	// Replay marks what is sent again because somebody asked for it.
	Replay string

	request  *http.Request // signed ahead, for one call
	signedAt time.Time
}

// Answer is what an app answered, as far as it did, and what the call took.
type Answer struct {
	Body   []byte
	Status int // 0 without one
	Timing Timing
}

// Timing is how long the parts of a call took; 0 is what there was none of.
type Timing struct{ DNS, Connect, TLS, FirstByte, Total time.Duration }

// ReplayHeader marks events that are sent again because somebody asked for it.
const ReplayHeader = "X-Hark-Replay"

// fresh is for how long a signature that was made ahead is good: receivers look at its time.
const fresh = 5 * time.Second

// Prepare signs a call that is about to come, while others are under way. Without it Call signs
// by itself, and so it does when too much time has passed.
func (c *Caller) Prepare(ctx context.Context, app *apps.App, m *Message) (err error) {
	m.request, err = c.signed(ctx, app, m)
	m.signedAt = time.Now()
	return err
}

// signed returns the request of a call, signed.
func (c *Caller) signed(ctx context.Context, app *apps.App, m *Message) (*http.Request, error) {
	target := m.target(app)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(m.Body))
	if err != nil {
		return nil, &Failure{Code: "TargetUnreachableError", Target: target, Message: fmt.Sprintf("%s is no URL that can be called: %v", target, err)}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "hark")
	r.Header.Set("X-St-Correlation", id.New[id.Event]().String())
	if m.Replay != "" {
		r.Header.Set(ReplayHeader, m.Replay)
	}
	if err := c.sign(ctx, r, app, m); err != nil {
		if ctx.Err() == nil {
			c.unable.Store(&err)
		}
		return nil, err
	}
	c.unable.Store(nil)
	return r, nil
}

func (m *Message) target(app *apps.App) string { return cmp.Or(m.URL, app.TargetURL) }

// Call posts the message to the app and returns a 2xx answer. Any other end is a *Failure, a
// redirection too, except that of ctx; the answer says what is known all the same.
func (c *Caller) Call(ctx context.Context, app *apps.App, m Message) (answer Answer, err error) {
	started := time.Now()
	watch := &stopwatch{timing: &answer.Timing}
	defer func() { answer.Timing.Total = time.Since(started) }()
	how, target := app.Delivery.WithDefaults(), m.target(app)
	calling, cancel := context.WithTimeout(ctx, time.Duration(how.Timeout))
	defer cancel()
	r := m.request
	if r == nil || started.Sub(m.signedAt) > fresh {
		if r, err = c.signed(calling, app, &m); err != nil {
			return answer, err
		}
	}
	if trace := telemetry.Carried(ctx); trace != "" {
		r.Header.Set(telemetry.Header, trace)
	}
	response, err := c.transport.RoundTrip(r.WithContext(watch.with(calling)))
	defer watch.stop() // a connection that was made for nothing may still write to it
	if err != nil {
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
		return answer, unanswered(target, how, err)
	}
	defer response.Body.Close()
	answer.Status = response.StatusCode
	answer.Body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if ctx.Err() != nil {
		return answer, ctx.Err()
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		f := &Failure{Code: "TargetNon200Error", Target: target, Status: response.StatusCode, Message: fmt.Sprintf("%s answered %s%s", target, response.Status, excerpt(answer.Body))}
		if response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable {
			f.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
		}
		return answer, f
	}
	if err != nil {
		return answer, unanswered(target, how, err)
	}
	return answer, nil
}

// sign signs by each scheme that the app has chosen.
func (c *Caller) sign(ctx context.Context, r *http.Request, app *apps.App, m *Message) error {
	now, how := time.Now(), app.Delivery
	signature.Digest(r, m.Body, now)
	if how.Signs(apps.SignStandard) {
		started := time.Now()
		if err := signature.SignStandard(r, cmp.Or(m.ID, r.Header.Get("X-St-Correlation")), m.Body, now, how.Secrets(now)...); err != nil {
			return err
		}
		c.tel.SignSeconds.WithLabelValues(apps.SignStandard).Observe(time.Since(started).Seconds())
	}
	for _, scheme := range []struct {
		name      string
		algorithm signature.Algorithm
	}{{apps.SignRSA, signature.RSA}, {apps.SignECDSA, signature.ECDSA}} {
		if !how.Signs(scheme.name) {
			continue
		}
		started := time.Now()
		if err := c.signWith(ctx, r, app, scheme.algorithm); err != nil {
			return fmt.Errorf("sign call to app: %w", err)
		}
		c.tel.SignSeconds.WithLabelValues(scheme.name).Observe(time.Since(started).Seconds())
	}
	return nil
}

func (c *Caller) signWith(ctx context.Context, r *http.Request, app *apps.App, algorithm signature.Algorithm) error {
	key, err := c.keys.KeyOf(ctx, app, algorithm)
	if err != nil {
		return err
	}
	select {
	case c.signing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.signing }()
	return key.Sign(r, app.SignatureType == apps.AppRSA && algorithm == signature.RSA)
}

func unanswered(target string, how apps.Delivery, err error) *Failure {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return &Failure{Code: "TargetTimeoutError", Target: target, Message: fmt.Sprintf("%s did not answer within %v", target, time.Duration(how.Timeout))}
	}
	return &Failure{Code: "TargetUnreachableError", Target: target, Message: fmt.Sprintf("%s cannot be reached: %v", target, cause(err))}
}

// retryAfter reads the header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 && seconds < 1<<30 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// cause drops the method and URL that net/http puts before what happened.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		if _, ok := err.(*net.OpError); ok { // the loop unwraps by itself
			return err
		}
		err = inner
	}
}

func excerpt(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	return fmt.Sprintf(": %.200q", body)
}
