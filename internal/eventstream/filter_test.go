package eventstream

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/scope"
)

var (
	here, there = id.New[id.Location](), id.New[id.Location]()
	lamp        = id.New[id.Device]()
	app         = id.New[id.App]()
	installed   = id.New[id.InstalledApp]()
)

func report() *event.Event {
	e := event.New(event.DeviceEvent, here, id.Mode{})
	e.Seq, e.Device = 7, &event.Report{Device: lamp, Component: "main", Capability: "switch", Attribute: "switch", Value: `"on"`}
	return e
}

func lifecycle(kind string) *event.Event {
	e := event.New(event.DeviceLifecycleEvent, here, id.Mode{})
	e.Lifecycle = &event.DeviceLifecycle{Kind: kind, Device: lamp, Detail: json.RawMessage("{}")}
	return e
}

func appUpdate() *event.Event {
	e := event.New(event.InstalledAppLifecycleEvent, here, id.Mode{})
	e.InstalledApp, e.App = installed, &event.AppLifecycle{Kind: event.Update, App: app}
	return e
}

func mode() *event.Event { return event.New(event.ModeEvent, here, id.New[id.Mode]()) }

// TestFilters holds each part of a filter: AND within one, OR across several (reference 2.2).
func TestFilters(t *testing.T) {
	t.Parallel()
	at := func(l id.Location) string { return `{"type":"LOCATIONIDS","value":["` + l.String() + `"]` }
	for _, c := range []struct {
		filters string
		e       *event.Event
		want    bool
	}{
		{`[]`, report(), true},
		{`null`, mode(), true},
		{`[` + at(here) + `}]`, report(), true},
		{`[` + at(there) + `}]`, report(), false},
		{`[` + at(there) + `},` + at(here) + `}]`, report(), true},
		{`[{"type":"LOCATIONIDS","value":["ALL"]}]`, report(), true},
		{`[` + strings.ToUpper(at(here)) + `}]`, report(), true}, // neither the keys nor an id has a case
		{`[` + at(here) + `,"eventType":["DEVICE_EVENT"]}]`, report(), true},
		{`[` + at(here) + `,"eventType":["MODE_EVENT"]}]`, report(), false},
		{`[` + at(here) + `,"capability":["switch"],"attribute":["switch"],"component":["main"]}]`, report(), true},
		{`[` + at(here) + `,"capability":["lock"]}]`, report(), false},
		{`[` + at(here) + `,"attribute":["level"]}]`, report(), false},
		{`[` + at(here) + `,"component":["left"]}]`, report(), false},
		{`[` + at(here) + `,"capability":["switch"]}]`, mode(), false},
		{`[` + at(here) + `,"capability":null,"attribute":[]}]`, mode(), true},
		{`[{"type":"DEVICEIDS","value":["` + strings.ReplaceAll(lamp.String(), "-", "") + `"]}]`, report(), true},
		{`[{"type":"DEVICEIDS","value":["` + lamp.String() + `"]}]`, lifecycle(event.Update), true},
		{`[{"type":"DEVICEIDS","value":["` + lamp.String() + `"]}]`, mode(), false},
		{`[{"type":"INSTALLEDSMARTAPPIDS","value":["` + installed.String() + `"]}]`, appUpdate(), true},
		{`[{"type":"INSTALLEDSMARTAPPIDS","value":["` + installed.String() + `"]}]`, report(), false},
		{`[{"type":"SMARTAPPIDS","value":["` + app.String() + `"]}]`, appUpdate(), true},
		{`[{"type":"SMARTAPPIDS","value":["` + installed.String() + `"]}]`, appUpdate(), false},
		{`[{"type":"ROOMIDS","value":["ALL"]}]`, report(), false},
		{`[]`, lifecycle(event.RoomMove), true},
		{`[]`, lifecycle(event.MoveTo), false}, // clients fail at it
		{`[]`, lifecycle(event.MoveFrom), false},
	} {
		var draft Registration
		if err := json.Unmarshal([]byte(`{"name":"n","subscriptionFilters":`+c.filters+`}`), &draft); err != nil {
			t.Fatalf("%s: %v", c.filters, err)
		}
		if got := New(scope.Principal{}, draft).Matches(c.e); got != c.want {
			t.Errorf("%s lets %s through: %v, want %v", c.filters, c.e.Type, got, c.want)
		}
	}
}

// FuzzFilters holds that a stream is only ever handed what its filters let through, wherever
// the hub looks for it.
func FuzzFilters(f *testing.F) {
	f.Add([]byte(`[{"type":"LOCATIONIDS","value":["` + here.String() + `","ALL"],"eventType":["DEVICE_EVENT"],"capability":null}]`))
	f.Add([]byte(`[{"type":"DEVICEIDS","value":["` + lamp.String() + `"]},{"type":"SMARTAPPIDS","value":[""]}]`))
	f.Add([]byte(`[{"type":"LOCATIONIDS","value":["` + there.String() + `"],"component":["main"]},{}]`))
	f.Fuzz(func(t *testing.T, filters []byte) {
		var draft Registration
		if json.Unmarshal([]byte(`{"name":"a \"name\"","subscriptionFilters":`+string(filters)+`}`), &draft) != nil {
			return
		}
		r := New(scope.Principal{}, draft)
		r.Needs()
		again, err := json.Marshal(r)
		var back Registration
		if err != nil || json.Unmarshal(again, &back) != nil {
			t.Fatalf("%s does not come back: %v", again, err)
		}
		var h Hub
		l, err := h.Open(r, scope.Principal{}, func() {}, func() bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		var want []*event.Event
		for _, e := range []*event.Event{report(), mode(), appUpdate(), lifecycle(event.Create)} {
			h.Publish(e)
			if r.Matches(e) != back.Matches(e) {
				t.Errorf("%s and its record %s differ about %s", filters, again, e.Type)
			}
			if r.Matches(e) {
				want = append(want, e)
			}
		}
		items, name, _, _, _ := l.Take(nil)
		var got []*event.Event
		for _, it := range items {
			got = append(got, it.Event)
			frame := string(it.AppendFrame(nil, name))
			_, data, _ := strings.Cut(frame, "\ndata: ")
			if !json.Valid([]byte(data)) || strings.Count(frame, "\n") != 4 {
				t.Errorf("a frame is %q", frame)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is handed %d events, its filters let %d through", filters, len(got), len(want))
		}
	})
}

// TestHub holds what ends a stream, and that nobody is told twice.
func TestHub(t *testing.T) {
	t.Parallel()
	var h Hub
	told := 0
	open := func(r *Registration) *Live {
		l, err := h.Open(r, scope.Principal{}, func() { told++ }, func() bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, _, more := l.Take(nil); more {
			t.Error("a new stream has something")
		}
		return l
	}
	ended := func(l *Live) error {
		_, _, _, err, _ := l.Take(nil)
		return err
	}
	r := New(scope.Principal{}, Registration{Name: "n"})
	first := open(r)
	for range 3 {
		h.Publish(report())
	}
	if told != 1 {
		t.Errorf("ready was called %d times for what was not taken yet", told)
	}
	if items, name, _, _, more := first.Take(nil); len(items) != 3 || string(name) != `"n"` || !more {
		t.Errorf("%d items for %s", len(items), name)
	}
	second := open(r)
	if err := ended(first); err != ErrReplaced {
		t.Errorf("the first ended because %v", err)
	}
	h.Leave(first) // it is none of the second's business
	if h.Len() != 1 {
		t.Error("the second is gone with the first")
	}
	for range maxWaiting + 1 {
		h.Publish(report())
	}
	if err := ended(second); err != ErrTooSlow || h.Len() != 0 {
		t.Errorf("with too much waiting it ended because %v", err)
	}
	third := open(r)
	for range Beats {
		h.Beat()
	}
	if _, _, beat, _, _ := third.Take(nil); !beat {
		t.Error("no comment is due after a round of beats")
	}
	h.End(r.ID, ErrDeleted)
	if err := ended(third); err != ErrDeleted {
		t.Errorf("it ended because %v", err)
	}
	last := open(r)
	h.Close()
	if err := ended(last); err != ErrStopping {
		t.Errorf("it ended because %v", err)
	}
	if _, err := h.Open(r, scope.Principal{}, func() {}, func() bool { return false }); err != ErrStopping {
		t.Errorf("a stream is opened after the end: %v", err)
	}
	if len(h.at)+len(h.everywhere) > 0 {
		t.Error("closed streams are still looked for")
	}
}
