// Package httpapi is the SmartThings-shaped REST surface: routing, decoding, the API's
// shapes, errors and paging. It decides nothing: who may do what, and what follows, is
// decided by the directory, the shard and the lifecycles that it calls.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hark/internal/directory"
	"hark/internal/id"
	"hark/internal/lifecycle"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/shard"
	"hark/internal/telemetry"
)

// API answers requests.
type API struct {
	log            *slog.Logger
	directory      *directory.Directory
	shard          *shard.Shard
	lifecycle      *lifecycle.Manager
	trustForwarded bool
	ready          func() error
	rates          bool
	windows        limits.Windows
	mux            *http.ServeMux
	writers        writers
	tel            *telemetry.Telemetry
}

// Config is what the API is built on.
type Config struct {
	Log       *slog.Logger
	Directory *directory.Directory
	Shard     *shard.Shard
	Lifecycle *lifecycle.Manager
	// TrustForwarded believes X-Forwarded-Proto and X-Forwarded-Host: only behind a proxy
	// that sets them.
	TrustForwarded bool
	// PlatformRates rehearses the platform's rates (reference 8).
	PlatformRates bool
	// Ready returns why the server cannot do its work, nil when it can.
	Ready func() error
	// Telemetry is told of every request.
	Telemetry *telemetry.Telemetry
}

// New returns the handler of all paths, each with and without /v1.
func New(cfg Config) *API {
	a := &API{
		log: cfg.Log.With("component", "httpapi"), directory: cfg.Directory, shard: cfg.Shard, lifecycle: cfg.Lifecycle,
		trustForwarded: cfg.TrustForwarded, rates: cfg.PlatformRates, ready: cfg.Ready, tel: cfg.Telemetry, mux: http.NewServeMux(),
	}
	a.routes()
	return a
}

// Limits of request bodies, in bytes.
const (
	maxBody = 1 << 20
	maxBulk = 16 << 20
)

// call is one request on its way.
type call struct {
	*API
	http.ResponseWriter
	*http.Request
	principal scope.Principal
	bearer    string // the token that the principal came with; "" for the owner
	answered  int    // the answer's status, 0 before it
}

// endpoint answers a call with a value to encode as JSON, or a refusal.
type endpoint func(*call) (any, error)

// handle serves the pattern, such as "GET /apps", for callers with a token.
func (a *API) handle(pattern string, fn endpoint) {
	if rate, ok := limits.RateOf(pattern); ok && a.rates {
		fn = a.limited(rate, fn)
	}
	a.open(pattern, a.authenticated(fn))
}

// limited counts the call, says what is left (reference 8), and refuses one too many.
func (a *API) limited(rate limits.Rate, fn endpoint) endpoint {
	return func(c *call) (any, error) {
		caller := c.principal.InstalledApp.String()
		if !c.principal.IsApp() {
			caller = c.principal.Name
		}
		if rate.PerDevice {
			caller += " " + c.PathValue("device")
		}
		left, wait := a.windows.Count(rate, caller, time.Now())
		c.Header().Set("X-RateLimit-Limit", strconv.Itoa(rate.Calls))
		c.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(left, 0)))
		c.Header().Set("X-RateLimit-Reset", strconv.FormatInt(wait.Milliseconds(), 10)) // milliseconds, as the newest document says
		if left < 0 {
			c.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			return nil, rate.TooOften(wait)
		}
		return fn(c)
	}
}

// open serves the pattern for everybody.
func (a *API) open(pattern string, fn endpoint) {
	method, path, _ := strings.Cut(pattern, " ")
	h := func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		ctx, span := a.tel.Accept(r, pattern)
		c := &call{API: a, ResponseWriter: w, Request: r.WithContext(ctx)}
		c.Body = http.MaxBytesReader(w, r.Body, maxBulk)
		answer, err := fn(c)
		if err != nil {
			c.refuse(err)
		} else if answer != nil {
			c.answer(http.StatusOK, answer)
		}
		span.Set("http.route", path, "http.request.method", method, "http.response.status_code", c.answered)
		span.End(err)
		if c.answered > 0 { // else it was an event stream, whose end says nothing
			a.tel.Requests.WithLabelValues(pattern, strconv.Itoa(c.answered)).Observe(time.Since(started).Seconds())
		}
	}
	a.mux.HandleFunc(pattern, h)
	a.mux.HandleFunc(method+" /v1"+path, h)
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.URL.Path) > 1 && strings.HasSuffix(r.URL.Path, "/") {
		r.URL.Path = strings.TrimRight(r.URL.Path, "/") // some clients append one
	}
	a.mux.ServeHTTP(w, r)
}

// noPath answers what no pattern serves.
func (a *API) noPath(c *call) (any, error) {
	var allowed []string
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := c.Clone(c.Context())
		probe.Method = method
		if _, pattern := a.mux.Handler(probe); pattern != "" && pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		c.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, problem.New(problem.NoMethod, "%s is not possible on %s; it takes %s.", c.Method, c.URL.Path, strings.Join(allowed, ", "))
	}
	return nil, problem.New(problem.NoPath, "There is no path %.200s on this server. The paths are those of the SmartThings API, with or without /v1, and /hark/v1.", c.URL.Path)
}

// Header is the answer's header: call has two, and this one is meant more often.
func (c *call) Header() http.Header { return c.ResponseWriter.Header() }

// WriteHeader implements http.ResponseWriter.
func (c *call) WriteHeader(status int) {
	c.answered = status
	c.ResponseWriter.WriteHeader(status)
}

// authenticated finds out who calls before fn is called.
func (a *API) authenticated(fn endpoint) endpoint {
	return func(c *call) (any, error) {
		if owner, ok := c.Context().Value(ownerKey{}).(scope.Principal); ok {
			c.principal = owner
			return fn(c)
		}
		scheme, token, _ := strings.Cut(c.Request.Header.Get("Authorization"), " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			c.Header().Set("WWW-Authenticate", `Bearer realm="hark"`)
			return nil, problem.New(problem.Unauthenticated, "The request has no access token. Send the header Authorization: Bearer <token>; `hark token create` makes one.")
		}
		var err error
		if c.principal, err = a.shard.Principal(token); err != nil {
			c.Header().Set("WWW-Authenticate", `Bearer realm="hark", error="invalid_token"`)
			return nil, err
		}
		c.bearer = token
		return fn(c)
	}
}

type ownerKey struct{}

// AsOwner returns a handler for callers that proved by other means that they own this server:
// whoever can open the control socket in its data directory.
func (a *API) AsOwner() http.Handler {
	owner := scope.Principal{Name: "owner of the data directory", Scopes: scope.All}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ownerKey{}, owner)))
	})
}

// bytes returns the body, at most maxBody of it unless it is bulk.
func (c *call) bytes(limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &http.MaxBytesError{Limit: limit}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, problem.New(problem.TooLarge, "The body is larger than %d bytes, the most that this path takes.", tooLarge.Limit)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "The body could not be read: %v.", err)
	}
	return b, nil
}

// decode reads the body as JSON into v, whatever its Content-Type. An empty body leaves v as
// it is; unknown members are ignored, as clients need.
func (c *call) decode(v any) error {
	b, err := c.bytes(maxBody)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	return decode(b, v)
}

func decode(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if err == nil {
		return nil
	}
	refusal := problem.New(problem.Invalid, "The body is not the JSON that this path takes: %v.", err)
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		refusal = refusal.At(t.Field)
	}
	return refusal
}

// pathID reads an id in the path.
func pathID[I ~[16]byte](c *call, name string) (I, error) {
	v, err := id.Parse[I](c.PathValue(name))
	if err != nil {
		return v, problem.New(problem.Invalid, "The %s in the path: %v.", name, err).At(name).Coded("PatternError")
	}
	return v, nil
}

// queryID reads an id among the parameters, and reports whether there is one.
func queryID[I ~[16]byte](c *call, name string) (v I, given bool, err error) {
	text := c.query().Get(name)
	if text == "" {
		return v, false, nil
	}
	if v, err = id.Parse[I](text); err != nil {
		return v, true, problem.New(problem.Invalid, "The parameter %s: %v.", name, err).At(name).Coded("PatternError")
	}
	return v, true, nil
}

// answer writes v as JSON.
func (c *call) answer(status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		c.log.Error("an answer cannot be encoded", "path", c.URL.Path, "err", err)
		http.Error(c.ResponseWriter, "{}", http.StatusInternalServerError)
		return
	}
	c.Header().Set("Content-Type", "application/json")
	c.WriteHeader(status)
	c.ResponseWriter.Write(b.Bytes()) // the client is gone
}

// statuses maps each kind of refusal to its status and the API's usual code (reference 1.9).
var statuses = map[problem.Kind]struct {
	status int
	code   string
}{
	problem.Defect:          {http.StatusInternalServerError, "UnexpectedError"},
	problem.Invalid:         {http.StatusBadRequest, "BadRequestError"},
	problem.Unauthenticated: {http.StatusUnauthorized, "UnauthorizedError"},
	problem.Denied:          {http.StatusForbidden, "ForbiddenError"},
	problem.NotFound:        {http.StatusForbidden, "NotFoundError"},
	problem.NoPath:          {http.StatusNotFound, "NotFoundError"},
	problem.NoMethod:        {http.StatusMethodNotAllowed, "UnsupportedOperationError"},
	problem.Conflict:        {http.StatusConflict, "ConflictError"},
	problem.Constraint:      {http.StatusUnprocessableEntity, "ConstraintViolationError"},
	problem.Limit:           {http.StatusUnprocessableEntity, "LimitError"},
	problem.TooMany:         {http.StatusTooManyRequests, "TooManyRequestError"},
	problem.TooLarge:        {http.StatusRequestEntityTooLarge, "SizeError"},
	problem.Unsupported:     {http.StatusNotImplemented, "UnsupportedOperationError"},
	problem.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailableError"},
}

// errorBody is the API's error (reference 1.9): clients need every member but target.
type errorBody struct {
	RequestID string         `json:"requestId"`
	Error     problem.Detail `json:"error"`
}

// describe returns a refusal's status and the error that the client is shown. A defect shows
// nothing of itself.
func describe(err error) (int, problem.Detail) {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		p = problem.New(problem.Defect, "hark failed at this request; its log has the details under the requestId.")
	}
	s := statuses[p.Kind]
	d := problem.Detail{Code: p.Code, Target: p.Target, Message: p.Message, Details: []problem.Detail{}}
	if d.Code == "" {
		d.Code = s.code
	}
	for _, inner := range p.Details {
		if inner.Details == nil {
			inner.Details = []problem.Detail{}
		}
		d.Details = append(d.Details, inner)
	}
	return s.status, d
}

// refuse writes a refusal.
func (c *call) refuse(err error) {
	status, detail := describe(err)
	body := errorBody{RequestID: id.New[id.Event]().String(), Error: detail}
	level := slog.LevelInfo
	switch {
	case status == http.StatusServiceUnavailable: // its cause is logged where it is known
		level = slog.LevelWarn
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	if c.tel != nil {
		c.tel.Refusals.WithLabelValues(detail.Code).Inc()
	}
	c.log.Log(c.Context(), level, "request refused", "status", status, "method", c.Method, "path", c.URL.Path, "caller", c.principal.Name,
		"because", err.Error(), "requestId", body.RequestID)
	c.answer(status, body)
}
