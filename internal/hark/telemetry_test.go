package hark

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// metrics returns what /metrics says: each line's value by what is before it.
func (i *instance) metrics() map[string]string {
	i.t.Helper()
	status, _, content := i.try("GET", "/metrics", nil)
	if status != http.StatusOK {
		i.t.Fatalf("/metrics: %d %s", status, content)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			values[line[:at]] = line[at+1:]
		}
	}
	return values
}

var metricName = regexp.MustCompile(`\bhark_[a-z_]+`)

// TestMetricsOfEveryStage sends an event to an app that takes it, one that refuses it and one
// that is down, and finds all of that in /metrics. The dashboard shows every metric, and none
// that there is not.
func TestMetricsOfEveryStage(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.Metrics = true })
	lamp := h.device("Floor lamp")
	for name, status := range map[string]int{"takes": http.StatusOK, "refuses": http.StatusBadRequest, "down": http.StatusServiceUnavailable} {
		a := h.install(name, "r:devices:*")
		a.answers(func(call object) int {
			if get(call, "messageType") == "EVENT" {
				return status
			}
			return http.StatusOK
		})
		a.subscribe("DEVICE", object{"deviceId": lamp})
	}
	report := `{"deviceId":"` + lamp + `","capability":"switch","attribute":"switch","value":`
	h.ok("POST", "/hark/v1/events", report+`"on"}`+"\n"+report+"5}\n")
	h.refused(http.StatusForbidden, "GET", "/installedapps/00000000-0000-4000-8000-000000000000", nil)

	var now map[string]string
	eventually(t, "every attempt is counted", func() bool {
		now = h.metrics()
		return now[`hark_delivery_attempts_total{outcome="delivered"}`] == "1" && now[`hark_delivery_attempts_total{outcome="failed"}`] != "" &&
			now[`hark_delivery_attempts_total{outcome="refused"}`] == "1" && now["hark_apps_waiting"] == "1" &&
			now["hark_checkpoint_seconds_count"] != "0"
	})
	for name, want := range map[string]string{
		`hark_reports_total{outcome="accepted"}`:                                "1",
		`hark_reports_total{outcome="rejected"}`:                                "1",
		`hark_events_total{type="DEVICE_EVENT"}`:                                "1",
		`hark_request_seconds_count{route="POST /hark/v1/events",status="200"}`: "1",
		`hark_refusals_total{code="NotFoundError"}`:                             "1",
		`hark_matches_total`:                                                    "3",
		`hark_delivery_events_total{outcome="delivered"}`:                       "1",
		`hark_delivery_delay_seconds_count`:                                     "1",
		`hark_delivery_retries_total{because="refused"}`:                        "1",
		`hark_refused_events`:                                                   "1",
		`hark_dead_letters`:                                                     "0",
		`hark_installed_apps`:                                                   "3",
		`hark_subscriptions`:                                                    "3",
		`hark_active`:                                                           "1",
		`hark_ready`:                                                            "1",
	} {
		if now[name] != want {
			t.Errorf("%s is %q, want %q", name, now[name], want)
		}
	}
	for _, timed := range []string{`hark_append_seconds_count{stream="HARK_HOME_JOURNAL"}`, `hark_match_seconds_count`, `hark_sign_seconds_count{scheme="RSA"}`,
		`hark_delivery_seconds_count{part="firstByte"}`, `hark_checkpoint_seconds_count`, `hark_disk_free_bytes`, `go_goroutines`} {
		if now[timed] == "" || now[timed] == "0" {
			t.Errorf("%s is %q", timed, now[timed])
		}
	}

	there := map[string]bool{"hark_append_retries_total": true} // there once it happens
	for line := range now {
		name := metricName.FindString(line)
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, part)
		}
		there[name] = true
		if strings.Contains(line, lamp) || strings.Contains(line, "takes") {
			t.Errorf("%s names a device or an app", line)
		}
	}
	delete(there, "")
	dashboard, err := os.ReadFile("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, name := range metricName.FindAllString(string(dashboard), -1) {
		name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
		if shown[name] = true; !there[name] {
			t.Errorf("the dashboard shows %s, which there is not", name)
		}
	}
	for name := range there {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func TestMetricsCanBeOff(t *testing.T) {
	t.Parallel()
	run(t, t.TempDir()).refused(http.StatusNotFound, "GET", "/metrics", nil)
}

// spans collects what comes by OTLP over HTTP.
type spans struct {
	*httptest.Server
	mu  sync.Mutex
	all []*otlp.Span
}

func collect(t *testing.T) *spans {
	s := &spans{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body) // nil fails the read
		}
		b, err := io.ReadAll(body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("a collector is sent to %s: %v", r.URL.Path, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, rs := range request.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				s.all = append(s.all, ss.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s
}

// find waits for the spans of the name, so many of them, and returns the newest.
func (s *spans) find(t *testing.T, name string, count int) *otlp.Span {
	t.Helper()
	var found []*otlp.Span
	eventually(t, fmt.Sprintf("%d spans %q come", count, name), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		found = nil
		for _, span := range s.all {
			if span.Name == name {
				found = append(found, span)
			}
		}
		return len(found) >= count
	})
	return found[len(found)-1]
}

func attribute(s *otlp.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// TestATraceFromReportToAcknowledgement sends a report as part of a client's trace to an app
// that is down. The trace goes on through journal and match to the app, also after a restart.
func TestATraceFromReportToAcknowledgement(t *testing.T) {
	t.Parallel()
	dir, otel := t.TempDir(), collect(t)
	traced := func(c *Config) { c.OTLPEndpoint = otel.URL }
	h := run(t, dir, traced)
	a := h.install("traced", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": h.device("Floor lamp")})
	a.answers(func(object) int { return http.StatusServiceUnavailable })

	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	body := `{"deviceId":"` + h.device("Floor lamp") + `","capability":"switch","attribute":"switch","value":"on"}`
	r, _ := http.NewRequest("POST", h.server.BaseURL()+"/hark/v1/events", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
	if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	request := otel.find(t, "POST /hark/v1/events", 1)
	journal := otel.find(t, "journal", 1)
	match := otel.find(t, "match", 1)
	failed := otel.find(t, "deliver", 1)
	for _, step := range []struct {
		span   *otlp.Span
		parent string
	}{{request, parent}, {journal, fmt.Sprintf("%x", request.SpanId)}, {match, fmt.Sprintf("%x", journal.SpanId)}, {failed, fmt.Sprintf("%x", journal.SpanId)}} {
		equal(t, "the trace of "+step.span.Name, fmt.Sprintf("%x", step.span.TraceId), trace)
		equal(t, "the parent of "+step.span.Name, fmt.Sprintf("%x", step.span.ParentSpanId), step.parent)
	}
	equal(t, "the outcome", attribute(failed, "hark.outcome"), "failed")
	contains(t, "why", failed.Status.Message, "503")
	equal(t, "the installed app", attribute(failed, "hark.installedApp"), a.installed)

	h.stop()
	got := make(chan string, 1)
	a.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { got <- q.Header.Get("Traceparent") })
	run(t, dir, traced)
	select {
	case header := <-got:
		contains(t, "what the app is told", header, "00-"+trace+"-")
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came after the restart")
	}
	eventually(t, "the delivery is in the trace", func() bool {
		delivered := otel.find(t, "deliver", 2)
		return attribute(delivered, "hark.outcome") == "delivered" && fmt.Sprintf("%x", delivered.TraceId) == trace
	})
}

// TestTracesOfNobody sends reports to a hark that traces a part of nothing: what no client traces
// is not.
func TestTracesOfNobody(t *testing.T) {
	t.Parallel()
	otel := collect(t)
	h := run(t, t.TempDir(), func(c *Config) { c.OTLPEndpoint, c.TracePart = otel.URL, 0 })
	a := h.install("untraced", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": h.device("Floor lamp")})
	h.report(h.device("Floor lamp"), "switch", "switch", "on")
	a.only("on")
	h.stop() // sends what is left
	if otel.mu.Lock(); len(otel.all) > 0 {
		t.Errorf("%d spans came, the first %q", len(otel.all), otel.all[0].Name)
	}
	otel.mu.Unlock()
}
