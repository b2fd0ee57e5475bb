// Package telemetry is what hark shows of its inside: every metric is in this file, with its name
// and meaning, and spans of traces are begun and ended here. It decides nothing, and no part of
// hark reads it.
package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry is one server's. It is safe for concurrent use. No metric names an app, a device or
// a person: there may be millions, and whoever can read /metrics need not know them.
type Telemetry struct {
	registry *prometheus.Registry
	tracer   trace.Tracer // nil without traces

	Requests       *prometheus.HistogramVec // by route and status; event streams only when refused
	Refusals       *prometheus.CounterVec   // by the API's error code
	Reports        *prometheus.CounterVec   // by outcome: accepted, rejected
	Events         *prometheus.CounterVec   // by type
	AppendSeconds  *prometheus.HistogramVec // by stream
	AppendEntries  *prometheus.HistogramVec // by stream
	AppendRetries  *prometheus.CounterVec   // by stream
	MatchSeconds   prometheus.Histogram
	Matches        prometheus.Counter
	Attempts       *prometheus.CounterVec   // by outcome
	AttemptEvents  *prometheus.CounterVec   // by outcome
	CallSeconds    *prometheus.HistogramVec // by part
	SignSeconds    *prometheus.HistogramVec // by scheme
	DelaySeconds   prometheus.Histogram
	Retried        *prometheus.CounterVec // by what: down, refused
	Gaps           prometheus.Counter
	CheckpointTime prometheus.Histogram
}

// fine are buckets from 50 µs to a minute: appends and calls to apps lie in between.
var fine = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// long are buckets from a millisecond to three days: what a delivery may take in all.
var long = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 15, 60, 300, 1800, 3600, 21600, 86400, 259200}

// New returns the telemetry of a server, without traces.
func New() *Telemetry {
	t := &Telemetry{
		registry: prometheus.NewRegistry(),
		Requests: histograms("hark_request_seconds", "Time to answer a request, by route and status. Event streams count when they are refused only.", fine, "route", "status"),
		Refusals: counters("hark_refusals_total", "Requests refused, by the API's error code.", "code"),
		Reports:  counters("hark_reports_total", "Reports of devices: accepted and durable, or rejected.", "outcome"),
		Events:   counters("hark_events_total", "Events that became durable, by type.", "type"),
		AppendSeconds: histograms("hark_append_seconds", "Time until the engine has acknowledged an append of gathered entries as durable, by stream.",
			fine, "stream"),
		AppendEntries:  histograms("hark_append_entries", "Entries in an append, by stream.", prometheus.ExponentialBuckets(1, 2, 11), "stream"),
		AppendRetries:  counters("hark_append_retries_total", "Appends that were not acknowledged and tried again, by stream.", "stream"),
		MatchSeconds:   histogram("hark_match_seconds", "Time to match the events of an append against all subscriptions and hand them to deliveries.", fine),
		Matches:        counter("hark_matches_total", "Pairs of an event and a subscription that matched."),
		Attempts:       counters("hark_delivery_attempts_total", "Calls to apps with events, by outcome: delivered, unhandled, refused, failed, withheld.", "outcome"),
		AttemptEvents:  counters("hark_delivery_events_total", "Events in calls to apps, by outcome.", "outcome"),
		CallSeconds:    histograms("hark_delivery_seconds", "Time of calls to apps with events, by part: dns, connect, tls, firstByte, total.", fine, "part"),
		SignSeconds:    histograms("hark_sign_seconds", "Time to sign a call, by scheme, waiting for a processor included.", fine, "scheme"),
		DelaySeconds:   histogram("hark_delivery_delay_seconds", "Time from when hark took an event until an app acknowledged it.", long),
		Retried:        counters("hark_delivery_retries_total", "Deliveries put off to be tried again: the endpoint is down, or it refused the event.", "because"),
		Gaps:           counter("hark_delivery_gaps_total", "Times that events left the journal before an app took them."),
		CheckpointTime: histogram("hark_checkpoint_seconds", "Time to make durable where everything stands.", fine),
	}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		t.Requests, t.Refusals, t.Reports, t.Events, t.AppendSeconds, t.AppendEntries, t.AppendRetries, t.MatchSeconds, t.Matches,
		t.Attempts, t.AttemptEvents, t.CallSeconds, t.SignSeconds, t.DelaySeconds, t.Retried, t.Gaps, t.CheckpointTime)
	return t
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// State is how things stand when somebody looks: the gauges.
type State struct {
	Active, Ready                                     bool
	Locations, Devices, InstalledApps, Paused         int
	Subscriptions, OpenStreams                        int
	Delivering, Waiting, Queued, Refused, DeadLetters int
	EndpointsDown                                     int
	OldestBehind                                      time.Duration
	JournalPosition, StreamMessages, DroppedAttempts  uint64
	FreeBytes                                         int64 // -1 when it is not known
}

// gauges are the metrics of a State.
var gauges = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*State) float64
}{
	gauge("hark_active", "1 when this hark is active, 0 when it stands by.", func(s *State) float64 { return truth(s.Active) }),
	gauge("hark_ready", "1 when this hark can take and deliver events; /readyz says why not.", func(s *State) float64 { return truth(s.Ready) }),
	gauge("hark_locations", "Locations.", func(s *State) float64 { return float64(s.Locations) }),
	gauge("hark_devices", "Devices.", func(s *State) float64 { return float64(s.Devices) }),
	gauge("hark_installed_apps", "Installed apps.", func(s *State) float64 { return float64(s.InstalledApps) }),
	gauge("hark_installed_apps_paused", "Installed apps whose deliveries are paused, by somebody or because their endpoint was down for days.", func(s *State) float64 { return float64(s.Paused) }),
	gauge("hark_subscriptions", "Subscriptions to events by webhook.", func(s *State) float64 { return float64(s.Subscriptions) }),
	gauge("hark_event_streams", "Open event streams.", func(s *State) float64 { return float64(s.OpenStreams) }),
	gauge("hark_apps_delivering", "Installed apps to which events are on their way.", func(s *State) float64 { return float64(s.Delivering) }),
	gauge("hark_apps_waiting", "Installed apps whose events wait: the endpoint is down, or something holds them.", func(s *State) float64 { return float64(s.Waiting) }),
	gauge("hark_endpoints_down", "Endpoints that are taken for down, and probed for all who have installed their app.", func(s *State) float64 { return float64(s.EndpointsDown) }),
	gauge("hark_queued_events", "Events that wait in memory for apps; those of apps that are behind wait in the journal.", func(s *State) float64 { return float64(s.Queued) }),
	gauge("hark_oldest_behind_seconds", "Since when the app that is behind for longest is behind.", func(s *State) float64 { return s.OldestBehind.Seconds() }),
	gauge("hark_refused_events", "Events that apps refused and that are tried again.", func(s *State) float64 { return float64(s.Refused) }),
	gauge("hark_dead_letters", "Events that apps refused and that are not tried again.", func(s *State) float64 { return float64(s.DeadLetters) }),
	gauge("hark_journal_position", "Position of the newest durable event.", func(s *State) float64 { return float64(s.JournalPosition) }),
	counted("hark_stream_messages_total", "Messages handed to event streams.", func(s *State) float64 { return float64(s.StreamMessages) }),
	counted("hark_attempts_dropped_total", "Attempts that the log of attempts could not take.", func(s *State) float64 { return float64(s.DroppedAttempts) }),
	gauge("hark_disk_free_bytes", "Free bytes where the data are; -1 with an engine elsewhere.", func(s *State) float64 { return float64(s.FreeBytes) }),
}

type stateMetric = struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*State) float64
}

func gauge(name, help string, value func(*State) float64) stateMetric {
	return stateMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func counted(name, help string, value func(*State) float64) stateMetric {
	return stateMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, value}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// state collects the gauges.
type state func() State

// Describe implements prometheus.Collector.
func (state) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range gauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (s state) Collect(ch chan<- prometheus.Metric) {
	now := s()
	for _, g := range gauges {
		ch <- prometheus.MustNewConstMetric(g.desc, g.kind, g.value(&now))
	}
}

// Observe says how to find out how things stand. It is called once.
func (t *Telemetry) Observe(now func() State) { t.registry.MustRegister(state(now)) }

// Handler serves the metrics in the format of Prometheus.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}
