package shard

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hark/internal/apps"
	"hark/internal/delivery"
	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/eventstream"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// TestAHomeThatIsGoneLeavesFewMarks deletes a home in which there is one record of each kind. Marks
// that stay for long are only of what has no owner; and what has one shows nowhere when a copy of
// its record comes back.
func TestAHomeThatIsGoneLeavesFewMarks(t *testing.T) {
	t.Parallel()
	url := enginetest.Server(t)
	open := func() (*engine.Engine, *Shard, func()) {
		e := enginetest.Open(t, engine.Config{URL: url})
		s, d := openOn(t, e, nil)
		return e, s, func() {
			s.Close(context.WithoutCancel(t.Context()))
			d.Close()
		}
	}

	_, s, shut := open()
	app, at := fill(t, s)
	shut()
	e, s, shut := open()
	if len(s.delivery.Refused(app)) != 1 || len(s.delivery.Gaps(app)) != 1 {
		t.Fatal("the home has no refused event and no gap to begin with")
	}
	copies := map[string][]byte{}
	if err := s.records.Load(t.Context(), func(kind, key string, data []byte) error {
		copies[kind+"."+key] = bytes.Clone(data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	pair, err := s.directory.IssuePair(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Uninstall(t.Context(), owner, app); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Principal(pair.Access); err == nil { // whether or not its record is still there
		t.Errorf("a token of an installed app that is gone is good for %v", p.Scopes)
	}
	if err := s.DeleteLocation(t.Context(), owner, at); err != nil {
		t.Fatal(err)
	}
	shut()

	store, err := records.Open(t.Context(), e, "home")
	if err != nil {
		t.Fatal(err)
	}
	long := map[string]bool{}
	brief := map[string]bool{}
	for key, ttl := range marks(t, url, "HARK_HOME_RECORDS") {
		kind, name, _ := strings.Cut(key, ".")
		if ttl > 5*time.Minute {
			long[kind] = true
			continue
		}
		data := copies[key]
		if data == nil {
			continue // an announcement of after the copies were made
		}
		brief[kind] = true
		if err := store.Write(t.Context(), records.Write{Kind: kind, ID: name, Value: records.Raw(data)}); err != nil {
			t.Fatal(err)
		}
	}
	store.Close()
	for _, kind := range []string{kindDevice, kindState, kindPlace, kindScene, kindCursor, kindSubscriptions, kindSchedule, kindStream, kindGap, kindRefused} {
		if !brief[kind] {
			t.Errorf("no mark of a %s goes soon", kind)
		}
	}
	for kind := range long {
		if kind != kindLocation && kind != kindInstalled {
			t.Errorf("the mark of a %s stays for long", kind)
		}
	}

	_, s, shut = open()
	defer shut()
	if n := len(s.locations) + len(s.devices) + len(s.scenes) + len(s.installed) + len(s.streams) + len(s.delivery.Refused(app)) + len(s.delivery.Gaps(app)); n > 0 {
		t.Errorf("%d things show of which only a copy of the record is there", n)
	}
	if _, waits := s.delivery.Waits(app); waits {
		t.Error("something waits for an app that is gone")
	}
}

// fill makes a home with a record of each kind that goes with it.
func fill(t *testing.T, s *Shard) (id.InstalledApp, id.Location) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := s.CreateLocation(t.Context(), owner, home.Location{Name: "Home"})
	must(nil, err)
	p, _ := home.FindPrototype("VIRTUAL_DIMMER_SWITCH")
	lamp, err := s.CreateDevice(t.Context(), owner, home.Device{Label: "Lamp", Type: home.Virtual, Location: l.ID, Components: p.Components()}, p.State())
	must(nil, err)
	must(s.CreateScene(t.Context(), owner, home.Scene{Location: l.ID, Name: "Evening"}))
	in, err := s.Install(t.Context(), owner, apps.Installed{App: id.New[id.App](), Location: l.ID, Permissions: scope.Set{"r:devices:*"}})
	must(nil, err)
	must(s.FinishInstall(t.Context(), in.ID))
	sub, err := subscription.ParseRequest(fmt.Appendf(nil, `{"sourceType":"DEVICE","device":{"deviceId":%q}}`, lamp.ID))
	must(nil, err)
	must(s.Subscribe(t.Context(), owner, in.ID, sub))
	own := scope.Principal{InstalledApp: in.ID, Location: l.ID, Scopes: in.Permissions}
	must(s.Schedule(t.Context(), own, in.ID, []byte(`{"name":"nightly","cron":{"expression":"0 0 * * ? *","timezone":"GMT"}}`)))
	must(s.CreateStream(t.Context(), own, eventstream.Registration{Name: "live", Filters: []eventstream.Filter{{Type: "LOCATIONIDS", Value: []string{l.ID.String()}, EventType: []string{"DEVICE_EVENT"}}}}))
	must(s.Report(t.Context(), owner, level(lamp.ID, 3), true)) // of which the place and the state follow
	r := delivery.Refused{InstalledApp: in.ID, Location: l.ID, Event: id.New[id.Event](), Position: 1, Subscription: sub.ID, Attempts: 9, Dead: true}
	g := delivery.Gap{After: 1}
	must(nil, s.records.Write(t.Context(),
		records.Write{Kind: kindCursor, ID: in.ID.String(), Value: delivery.Place{}},
		records.Write{Kind: kindGap, ID: gapKey(in.ID, g), Value: g},
		records.Write{Kind: kindRefused, ID: r.Key(), Value: &r}))
	return in.ID, l.ID
}

// marks returns the keys of deleted records, and how long each mark stays.
func marks(t *testing.T, url, stream string) map[string]time.Duration {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]time.Duration{}
	for subject := range info.State.Subjects {
		m, err := st.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		if ttl := m.Header.Get("Nats-TTL"); ttl != "" && len(m.Data) == 0 {
			stays, err := time.ParseDuration(ttl + "s")
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.SplitN(subject, ".", 4) // hark, the store, "records", the key
			found[parts[3]] = stays
		}
	}
	if len(found) == 0 {
		t.Fatal("no deleted record left a mark")
	}
	return found
}
