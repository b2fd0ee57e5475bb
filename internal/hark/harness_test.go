package hark

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// instance is a whole hark in this process, with a client that may do everything.
type instance struct {
	t        *testing.T
	server   *Server
	token    string
	location string
	stop     func()
	log      *logbook
}

// logbook is what a hark logged.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run starts a hark on the data directory, with the demo home.
func run(t *testing.T, dir string, change ...func(*Config)) *instance {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", Data: dir, NATS: NATS{Replicas: 1}}
	for _, c := range change {
		c(&cfg)
	}
	book := new(logbook)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), book), &slog.HandlerOptions{Level: slog.LevelInfo}))
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, cfg, log, Demo)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	token, err := s.OwnerToken(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	home, _ := s.Home()
	i := &instance{t: t, server: s, token: token, location: home.ID.String(), log: book}
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("hark ended: %v", err)
		}
	})
	t.Cleanup(i.stop)
	return i
}

// as returns a client with another token.
func (i *instance) as(token string) *instance {
	other := *i
	other.token = token
	return &other
}

// try makes a request; a string body goes as it is.
func (i *instance) try(method, path string, body any) (int, http.Header, []byte) {
	i.t.Helper()
	b, ok := body.(string)
	if !ok && body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			i.t.Fatal(err)
		}
		b = string(encoded)
	}
	r, err := http.NewRequest(method, i.server.BaseURL()+path, strings.NewReader(b))
	if err != nil {
		i.t.Fatal(err)
	}
	if i.token != "" {
		r.Header.Set("Authorization", "Bearer "+i.token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		i.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return response.StatusCode, response.Header, content
}

// object is decoded JSON.
type object = map[string]any

// ok makes a request that must be answered 200 and returns the answer.
func (i *instance) ok(method, path string, body any) object {
	i.t.Helper()
	status, _, content := i.try(method, path, body)
	var answer object
	if err := json.Unmarshal(content, &answer); err != nil || status != http.StatusOK {
		i.t.Fatalf("%s %s: %d %s", method, path, status, content)
	}
	return answer
}

// refused makes a request that must be refused with the status, in the API's shape, and
// returns the error.
func (i *instance) refused(want int, method, path string, body any) object {
	i.t.Helper()
	status, _, content := i.try(method, path, body)
	var answer struct {
		RequestID string
		Error     object
	}
	if err := json.Unmarshal(content, &answer); err != nil || status != want {
		i.t.Fatalf("%s %s: %d %s, want %d", method, path, status, content, want)
	}
	if answer.RequestID == "" || get(answer.Error, "code") == "" || get(answer.Error, "message") == "" {
		i.t.Errorf("%s %s: the refusal lacks what clients need: %s", method, path, content)
	}
	if _, ok := answer.Error["details"].([]any); !ok {
		i.t.Errorf("%s %s: details is no list: %s", method, path, content)
	}
	return answer.Error
}

// get walks into decoded JSON by keys and list positions, and returns the text of what is
// there, "" for nothing.
func get(v any, path ...any) string {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return ""
			}
			v = l[p]
		}
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %q, want %q", what, got, want)
	}
}

func contains(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s is %q, which does not say %q", what, got, p)
		}
	}
}

// device returns the id of a device of the demo home.
func (i *instance) device(label string) string {
	i.t.Helper()
	for _, d := range i.ok("GET", "/devices", nil)["items"].([]any) {
		if get(d, "label") == label {
			return get(d, "deviceId")
		}
	}
	i.t.Fatalf("no device %q", label)
	return ""
}

// report lets a virtual device say something and returns whether it was a change.
func (i *instance) report(device, capability, attribute string, value any) string {
	i.t.Helper()
	answer := i.ok("POST", "/virtualdevices/"+device+"/events", object{"deviceEvents": []object{{"component": "main", "capability": capability, "attribute": attribute, "value": value}}})
	return get(answer, "stateChanges", 0)
}

// receiver is an app's endpoint. It verifies every signature.
type receiver struct {
	*httptest.Server
	t       *testing.T
	calls   chan object
	answer  atomic.Pointer[func(object) int]
	public  func() string // the PEM that signatures are verified by; nil asks the key server
	keys    sync.Map
	headers sync.Map // that answers have
}

func receive(t *testing.T, key string) *receiver {
	r := &receiver{t: t, calls: make(chan object, 10_000)}
	r.answers(func(object) int { return http.StatusOK })
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		var call object
		if err := json.Unmarshal(body, &call); err != nil {
			t.Errorf("hark sent %s", body)
			return
		}
		r.verify(key, q, body)
		status := (*r.answer.Load())(call)
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		if status < 300 || status == http.StatusUnprocessableEntity {
			r.calls <- call // taken; refused ones come again
		}
		if get(call, "lifecycle") == "PING" {
			fmt.Fprintf(w, `{"pingData":{"challenge":%q}}`, get(call, "pingData", "challenge"))
			return
		}
		r.headers.Range(func(name, value any) bool { w.Header().Set(name.(string), value.(string)); return true })
		w.WriteHeader(status)
		fmt.Fprint(w, `{"statusCode":200,"eventData":{}}`)
	}))
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

// answers sets what the app answers a call: the status, 0 to hang up.
func (r *receiver) answers(status func(call object) int) { r.answer.Store(&status) }

var parameter = regexp.MustCompile(`([a-zA-Z]+)="([^"]*)"`)

// verify checks digest and signature as a careful receiver does.
func (r *receiver) verify(keyHost string, q *http.Request, body []byte) {
	params := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(q.Header.Get("Authorization"), -1) {
		params[m[1]] = m[2]
	}
	sum := sha256.Sum256(body)
	if want := "SHA256=" + base64.StdEncoding.EncodeToString(sum[:]); q.Header.Get("Digest") != want {
		r.t.Errorf("digest %s, want %s", q.Header.Get("Digest"), want)
	}
	if at, err := http.ParseTime(q.Header.Get("Date")); err != nil || time.Since(at).Abs() > 30*time.Second {
		r.t.Errorf("date %s", q.Header.Get("Date"))
	}
	var public any
	if r.public != nil {
		block, _ := pem.Decode([]byte(r.public()))
		if block == nil || !strings.HasPrefix(params["keyId"], "/SmartThings/") {
			r.t.Errorf("keyId %s", params["keyId"])
			return
		}
		public, _ = x509.ParsePKIXPublicKey(block.Bytes)
	} else {
		public = r.fetch(keyHost + params["keyId"])
	}
	sig, _ := base64.StdEncoding.DecodeString(params["signature"])
	hash := sha256.Sum256([]byte("(request-target): post " + q.URL.Path + "\ndigest: " + q.Header.Get("Digest") + "\ndate: " + q.Header.Get("Date")))
	key, ok := public.(*rsa.PublicKey)
	if !ok || rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], sig) != nil {
		r.t.Errorf("the signature does not verify: %s", q.Header.Get("Authorization"))
	}
}

func (r *receiver) fetch(url string) any {
	if key, ok := r.keys.Load(url); ok {
		return key
	}
	response, err := http.Get(url)
	if err != nil {
		return nil // the server is stopping
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	block, _ := pem.Decode(b)
	if block == nil {
		r.t.Errorf("the key server answers %s: %s", url, b)
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.t.Error(err)
		return nil
	}
	r.keys.Store(url, c.PublicKey)
	return c.PublicKey
}

// next waits for the next call.
func (r *receiver) next() object {
	r.t.Helper()
	select {
	case c := <-r.calls:
		return c
	case <-time.After(20 * time.Second):
		r.t.Fatal("no call within 20 s")
		return nil
	}
}

// event waits for the next call, which must carry one event, and returns it.
func (r *receiver) event() object {
	r.t.Helper()
	for {
		c := r.next()
		if get(c, "lifecycle") == "CONFIRMATION" || get(c, "messageType") == "CONFIRMATION" {
			continue // sent beside everything else
		}
		events, _ := c["eventData"].(object)["events"].([]any)
		if len(events) != 1 {
			r.t.Fatalf("a call with %d events: %v", len(events), c)
		}
		return events[0].(object)
	}
}

// values waits for n device events and returns their values.
func (r *receiver) values(n int) []string {
	r.t.Helper()
	var values []string
	for range n {
		values = append(values, get(r.event(), "deviceEvent", "value"))
	}
	return values
}

// silent fails the test if an event comes although a later one, of the marker device, is
// all that should.
func (r *receiver) only(want string) {
	r.t.Helper()
	if got := get(r.event(), "deviceEvent", "value"); got != want {
		r.t.Errorf("the next event's value is %s, want %s", got, want)
	}
}

// app is an installed API-access app.
type app struct {
	*instance
	*receiver
	appID, installed, access string
}

// install registers and installs an API-access app with the permissions.
func (i *instance) install(name string, permissions ...string) *app {
	i.t.Helper()
	r := receive(i.t, i.server.BaseURL())
	made := i.ok("POST", "/apps", object{"appName": name, "displayName": name, "appType": "API_ONLY", "apiOnly": object{"targetUrl": r.URL}})
	answer := i.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": i.location, "permissions": permissions})
	return &app{i, r, get(made, "app", "appId"), get(answer, "installedApp", "installedAppId"), get(answer, "tokens", "access_token")}
}

// subscribe makes a subscription with the app's own token and returns its id.
func (a *app) subscribe(source string, detail object) string {
	a.instance.t.Helper()
	if source != "DEVICE" {
		detail["locationId"] = a.location
	}
	return get(a.as(a.access).ok("POST", "/installedapps/"+a.installed+"/subscriptions", object{"sourceType": source, member(source): detail}), "id")
}

// member is the name of an object in the API: the words in camel case.
func member(words string) string {
	var b strings.Builder
	for i, word := range strings.Split(strings.ToLower(words), "_") {
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		b.WriteString(word)
	}
	return b.String()
}

func (a *app) delivery() object {
	return a.ok("GET", "/hark/v1/installedapps/"+a.installed+"/delivery", nil)
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func sorted(values []string) []string {
	slices.Sort(values)
	return values
}
