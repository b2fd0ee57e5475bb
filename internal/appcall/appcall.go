// Package appcall makes one signed POST to an app's target and bounds the answer. Whether
// to try again is the caller's business; every attempt is signed anew.
package appcall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/signature"
)

// Timeout is how long an app may take to answer (reference 3.6).
const Timeout = 10 * time.Second

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Caller calls apps. It is safe for concurrent use.
type Caller struct {
	client  *http.Client
	key     func(context.Context) (*signature.Key, error)
	signing chan struct{} // one token for each signature under way: signing is all processor
}

// maxConnections bounds the connections to one host: an app is called one event at a time, but
// many apps may be behind one host.
const maxConnections = 256

// New returns a caller that signs with the key, which may take a while to exist, and calls
// only where the policy lets it.
func New(key func(context.Context) (*signature.Key, error), to Egress) *Caller {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Control: to.control}).DialContext,
		MaxConnsPerHost:       maxConnections,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: Timeout,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
	}
	return &Caller{
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect is an answer other than 2xx
		}},
		key:     key,
		signing: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// Close lets go of idle connections.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

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

// Call posts the body to the app's target and returns a 2xx answer's body. Any other end is
// a *Failure, except that of ctx.
func (c *Caller) Call(ctx context.Context, app *apps.App, body []byte) ([]byte, error) {
	calling, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(calling, http.MethodPost, app.TargetURL, bytes.NewReader(body))
	if err != nil {
		return nil, &Failure{Code: "TargetUnreachableError", Target: app.TargetURL, Message: fmt.Sprintf("%s is no URL that can be called: %v", app.TargetURL, err)}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "hark")
	r.Header.Set("X-St-Correlation", id.New[id.Event]().String())
	if err := c.sign(calling, r, body, app.SignatureType == apps.AppRSA); err != nil {
		return nil, err
	}
	answer, err := c.client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unanswered(app.TargetURL, err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		f := &Failure{Code: "TargetNon200Error", Target: app.TargetURL, Status: answer.StatusCode, Message: fmt.Sprintf("%s answered %s%s", app.TargetURL, answer.Status, excerpt(content))}
		if answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable {
			f.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
		}
		return content, f
	}
	if err != nil {
		return nil, unanswered(app.TargetURL, err)
	}
	return content, nil
}

func (c *Caller) sign(ctx context.Context, r *http.Request, body []byte, appRSA bool) error {
	key, err := c.key(ctx)
	if err != nil {
		return fmt.Errorf("sign call to app: %w", err)
	}
	select {
	case c.signing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("sign call to app: %w", ctx.Err())
	}
	defer func() { <-c.signing }()
	return key.Sign(r, body, time.Now(), appRSA)
}

func unanswered(target string, err error) *Failure {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return &Failure{Code: "TargetTimeoutError", Target: target, Message: fmt.Sprintf("%s did not answer within %v", target, Timeout)}
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
