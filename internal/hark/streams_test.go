package hark

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hark/internal/eventstream"
)

// frame is one event of a stream as a client sees it.
type frame struct {
	id, event, data string
}

// json returns the data decoded.
func (f frame) json() object {
	var v object
	if err := json.Unmarshal([]byte(f.data), &v); err != nil {
		panic(err) // the test fails
	}
	return v
}

// eventSource is an open stream.
type eventSource struct {
	t        *testing.T
	frames   chan frame
	comments chan string
	close    func()
}

// listen opens a stream by its address, going on after an id if one is given.
func (i *instance) listen(url, lastEventID string) *eventSource {
	i.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+i.token)
	r.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		i.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		i.t.Fatalf("the stream is answered %s, %s", response.Status, response.Header.Get("Content-Type"))
	}
	s := &eventSource{i.t, make(chan frame, 5000), make(chan string, 5000), func() { cancel(); response.Body.Close() }}
	i.t.Cleanup(s.close)
	go func() {
		defer close(s.frames)
		var f frame
		scanner := bufio.NewScanner(response.Body)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			if comment, ok := strings.CutPrefix(scanner.Text(), ": "); ok {
				s.comments <- comment
				continue
			}
			name, value, _ := strings.Cut(scanner.Text(), ": ")
			switch name {
			case "id":
				f.id = value
			case "event":
				f.event = value
			case "data":
				f.data = value
			case "":
				if f.event != "" {
					s.frames <- f
				}
				f = frame{}
			}
		}
	}()
	equal(i.t, "the first word", s.next("CONTROL_EVENT").data, "welcome")
	return s
}

// next waits for the next event, which must have the name.
func (s *eventSource) next(name string) frame {
	s.t.Helper()
	select {
	case f, ok := <-s.frames:
		if !ok || f.event != name {
			s.t.Fatalf("the stream brings %+v (open: %v), want a %s", f, ok, name)
		}
		return f
	case <-time.After(20 * time.Second):
		s.t.Fatalf("no %s within 20 s", name)
		return frame{}
	}
}

func (s *eventSource) value(want string) frame {
	s.t.Helper()
	f := s.next("DEVICE_EVENT")
	var data object
	if err := json.Unmarshal([]byte(f.data), &data); err != nil {
		s.t.Fatal(err)
	}
	equal(s.t, "the streamed value", get(data, "deviceEvent", "value"), want)
	return f
}

// ended waits for the goodbye and the end.
func (s *eventSource) ended() {
	s.t.Helper()
	equal(s.t, "the last word", s.next("CONTROL_EVENT").data, "goodbye")
	if f, ok := <-s.frames; ok {
		s.t.Errorf("after the goodbye comes %+v", f)
	}
}

func (i *instance) stream(filters ...object) object {
	i.t.Helper()
	return i.ok("POST", "/v1/subscriptions", object{"name": "My sub", "version": 20250122, "clientDeviceId": "iapp_x", "subscriptionFilters": filters})
}

func TestStreams(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	lamp, light, door := h.device("Floor lamp"), h.device("Ceiling light"), h.device("Front door")
	made := h.stream(object{"type": "LOCATIONIDS", "value": []string{h.location}, "eventType": []string{"DEVICE_EVENT"}, "capability": nil})
	for _, member := range []string{"subscriptionId", "registrationUrl", "name"} {
		if get(made, member) == "" {
			t.Errorf("the answer lacks %s, which clients need", member)
		}
	}
	equal(t, "the echoed filter", get(made, "subscriptionFilters", 0, "attribute")+get(made, "subscriptionFilters", 0, "type"), "LOCATIONIDS")
	url := get(made, "registrationUrl")
	s := h.listen(url, "")
	h.report(lamp, "switch", "switch", "on")
	f := s.value("on")
	var data object
	if err := json.Unmarshal([]byte(f.data), &data); err != nil {
		t.Fatal(err)
	}
	if at, ok := data["eventTime"].(float64); !ok || time.Since(time.UnixMilli(int64(at))).Abs() > time.Minute {
		t.Errorf("the event's time is %v, want milliseconds", data["eventTime"])
	}
	for _, member := range []string{"eventId", "locationId", "ownerId", "ownerType", "deviceId", "componentId", "capability", "attribute", "valueType", "stateChange", "data", "sensitive"} {
		if get(data, "deviceEvent", member) == "" {
			t.Errorf("the event lacks %s", member)
		}
	}
	equal(t, "the stream's name in the event", get(data, "deviceEvent", "subscriptionName"), "My sub")

	// The connection is lost, events happen, and the client goes on where it was.
	s.close()
	for v := 1; v <= 3; v++ {
		h.report(light, "switchLevel", "level", v)
	}
	s = h.listen(url, f.id)
	for v := 1; v <= 3; v++ {
		s.value(fmt.Sprint(v))
	}
	h.report(light, "switchLevel", "level", 4)
	f = s.value("4")

	// Opened again while the old connection looks alive: the new one takes over.
	again := h.listen(url, f.id)
	s.ended()
	h.report(light, "switchLevel", "level", 5)
	f = again.value("5")

	// A restart: goodbye, and the registration and the past are still there.
	h.stop()
	again.ended()
	h = run(t, dir)
	h.report(light, "switchLevel", "level", 6)
	url = get(h.ok("GET", "/sse/subscriptions/"+get(made, "subscriptionId"), nil), "registrationUrl")
	s = h.listen(url, f.id)
	s.value("6")

	// Filters.
	one := h.listen(get(h.stream(object{"type": "DEVICEIDS", "value": []string{strings.ToUpper(door)}}, object{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{"MODE_EVENT"}},
		object{"type": "ROOMIDS", "value": []string{"x"}, "eventType": []string{"UNHEARD_OF_EVENT"}}), "registrationUrl"), "")
	h.report(light, "switchLevel", "level", 7)
	h.report(door, "contactSensor", "contact", "open")
	one.value("open")
	h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": get(h.ok("GET", "/locations/"+h.location+"/modes", nil), "items", 1, "id")})
	one.next("MODE_EVENT")

	// Deleting ends it; deleting what is not there is harmless; opening it is refused.
	equal(t, "the deletion", get(h.ok("DELETE", "/subscriptions/"+get(made, "subscriptionId"), nil), "count"), "1")
	s.value("7")
	s.value("open")
	s.ended()
	equal(t, "the second deletion", get(h.ok("DELETE", "/v1/subscriptions/"+get(made, "subscriptionId"), nil), "count"), "0")
	h.ok("DELETE", "/v1/sse/subscriptions/nonsense", nil)
	contains(t, "opening a deleted stream", get(h.refused(http.StatusForbidden, "GET", strings.TrimPrefix(url, h.server.BaseURL()), nil), "message"), "deleted, or never made")
}

func TestStreamsShowWhatTheTokenMaySee(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	a := h.install("streamer", "r:devices:*", "r:locations:*")
	own := h.as(a.access)
	made := own.stream(object{"type": "LOCATIONIDS", "value": []string{h.location}})
	path := strings.TrimPrefix(get(made, "registrationUrl"), h.server.BaseURL())
	contains(t, "a person's token", get(h.refused(http.StatusForbidden, "GET", path, nil), "message"), "made by the installed app "+a.installed)
	h.as("").refused(http.StatusUnauthorized, "GET", path, nil)
	other := h.install("other", "r:devices:"+lamp)
	contains(t, "another app's token", get(h.as(other.access).refused(http.StatusForbidden, "GET", path, nil), "message"), other.installed)
	contains(t, "a device that the token may not read",
		get(h.as(other.access).refused(http.StatusForbidden, "POST", "/subscriptions", object{"name": "x", "subscriptionFilters": []object{{"type": "DEVICEIDS", "value": []string{door}}}}), "message"), "r:devices:"+door)
	h.as(other.access).ok("DELETE", "/subscriptions/"+get(made, "subscriptionId"), nil) // harmless

	s := own.listen(get(made, "registrationUrl"), "")
	h.report(lamp, "switch", "switch", "on")
	s.value("on")
	h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{"r:devices:" + door}})
	s.next("INSTALLED_APP_LIFECYCLE_EVENT")   // it concerns the app itself
	h.report(lamp, "switch", "switch", "off") // the scope is revoked: the next event is not shown
	h.report(door, "contactSensor", "contact", "open")
	s.value("open")
	h.ok("DELETE", "/installedapps/"+a.installed, nil)
	s.ended()
}

// TestAStreamSaysWhatIsGone resumes after events that the journal no longer has.
func TestAStreamSaysWhatIsGone(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.RetentionBytes = 30_000 })
	light := h.device("Ceiling light")
	url := get(h.stream(), "registrationUrl")
	var lines strings.Builder
	for v := range 500 {
		fmt.Fprintf(&lines, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`+"\n", light, v%100)
	}
	h.ok("POST", "/hark/v1/events", lines.String())
	s := h.listen(url, "1")
	contains(t, "the gap", s.next("GAP_EVENT").data, `{"after":1,"before":`)
	s.next("DEVICE_EVENT") // and then what is left
	h.refused(http.StatusBadRequest, "POST", "/subscriptions", `{"subscriptionFilters":7}`)
	s = h.listen(url, "99999999") // of a journal that is no more
	contains(t, "the gap to a position that never was", s.next("GAP_EVENT").data, `{"after":99999999,"before":`)
}

// TestASlowReaderIsCutOffAndSlowsNobody opens a stream over a connection that nobody reads.
func TestASlowReaderIsCutOffAndSlowsNobody(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	light := h.device("Ceiling light")
	slow, err := net.Dial("tcp", strings.TrimPrefix(h.server.BaseURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.(*net.TCPConn).SetReadBuffer(4096) // a wish
	path := strings.TrimPrefix(get(h.stream(), "registrationUrl"), h.server.BaseURL())
	fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: hark\r\nAuthorization: Bearer %s\r\n\r\n", path, h.token)
	eventually(t, "the slow one is open", func() bool { return h.server.shard.Hub().Len() == 1 })
	quick := h.listen(get(h.stream(), "registrationUrl"), "")
	ballast := strings.Repeat("x", 30_000)
	sent := 0
	for deadline := time.Now().Add(30 * time.Second); h.server.shard.Hub().Len() == 2; {
		if time.Now().After(deadline) {
			t.Fatalf("the slow reader is not cut off after %d events", sent)
		}
		var lines strings.Builder
		for range 50 {
			sent++
			fmt.Fprintf(&lines, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d,"data":{"ballast":%q}}`+"\n", light, sent%101, ballast)
		}
		h.ok("POST", "/hark/v1/events", lines.String())
		for n := range 50 {
			quick.value(fmt.Sprint((sent - 49 + n) % 101))
		}
	}
	t.Logf("cut off after %d events of %d bytes", sent, len(ballast))
}

// TestStreamsOfAnAppSeeItsLocation holds that what is handed out by location reaches exactly
// those who may see it.
func TestStreamsOfAnAppSeeItsLocation(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	there := *h
	there.location = get(h.ok("POST", "/locations", object{"name": "Cottage"}), "locationId")
	lamp := h.device("Floor lamp")
	other := get(h.ok("POST", "/virtualdevices/prototypes", object{"name": "Other", "owner": object{"ownerType": "LOCATION", "ownerId": there.location}, "prototype": "VIRTUAL_SWITCH"}), "deviceId")
	a, b := h.install("here", "r:devices:*"), there.install("there", "r:devices:*")
	device := func(filters ...object) *eventSource {
		return h.listen(get(h.stream(filters...), "registrationUrl"), "")
	}
	all := object{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{"DEVICE_EVENT"}}
	own := func(a *app) *eventSource {
		return h.as(a.access).listen(get(h.as(a.access).stream(all), "registrationUrl"), "")
	}
	here, far := own(a), own(b)
	one := device(object{"type": "LOCATIONIDS", "value": []string{h.location}, "eventType": []string{"DEVICE_EVENT"}})
	both := device(object{"type": "LOCATIONIDS", "value": []string{h.location, there.location}, "eventType": []string{"DEVICE_EVENT"}})
	single := device(object{"type": "DEVICEIDS", "value": []string{other}})
	every := device(all)
	h.report(lamp, "switch", "switch", "on")
	h.report(other, "switch", "switch", "on")
	h.report(lamp, "switch", "switch", "off")
	h.report(other, "switch", "switch", "off")
	for name, c := range map[string]struct {
		s    *eventSource
		want []string
	}{
		"an app here": {here, []string{lamp, lamp}}, "an app there": {far, []string{other, other}}, "one location": {one, []string{lamp, lamp}},
		"two locations": {both, []string{lamp, other, lamp, other}}, "a device": {single, []string{other, other}}, "all": {every, []string{lamp, other, lamp, other}},
	} {
		for _, want := range c.want {
			equal(t, name, get(c.s.next("DEVICE_EVENT").json(), "deviceEvent", "deviceId"), want)
		}
	}
	// What a stream shows can be changed while it is open.
	changed := h.stream(object{"type": "LOCATIONIDS", "value": []string{there.location}})
	s := h.listen(get(changed, "registrationUrl"), "")
	updated := h.ok("PUT", "/subscriptions/"+get(changed, "subscriptionId"), object{"name": "Renamed", "subscriptionFilters": []object{{"type": "DEVICEIDS", "value": []string{lamp}}}})
	equal(t, "the name", get(updated, "name"), "Renamed")
	h.report(other, "switch", "switch", "on")
	h.report(lamp, "switch", "switch", "on")
	f := s.next("DEVICE_EVENT").json()
	equal(t, "what the changed stream shows", get(f, "deviceEvent", "deviceId")+get(f, "deviceEvent", "subscriptionName"), lamp+"Renamed")

	// Scopes of the events that a filter asks for by name (reference 2.2).
	for _, c := range []struct{ event, missing string }{
		{"MODE_EVENT", "r:locations:$"}, {"HUB_HEALTH_EVENT", "r:hubs:$"}, {"SCENE_LIFECYCLE_EVENT", "r:scenes:$"}, {"SECURITY_ARM_STATE_EVENT", "r:security:locations:$:armstate"},
	} {
		contains(t, c.event, get(h.as(a.access).refused(http.StatusForbidden, "POST", "/subscriptions", object{"subscriptionFilters": []object{{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{c.event}}}}), "message"), c.missing)
	}
	h.as(a.access).stream(object{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{"FAVORITE_LIFECYCLE_EVENT", "DEVICE_EVENT"}}) // what nobody knows is taken
}

// TestAStreamHasAPulse holds that an idle stream gets comments.
func TestAStreamHasAPulse(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	s := h.listen(get(h.stream(), "registrationUrl"), "")
	for range eventstream.Beats {
		h.server.shard.Hub().Beat() // as a second does
	}
	select {
	case <-s.comments:
	case <-time.After(20 * time.Second):
		t.Fatal("no comment comes")
	}
	time.Sleep(10*time.Second + 200*time.Millisecond) // longer than a write may take
	h.report(h.device("Floor lamp"), "switch", "switch", "on")
	s.value("on")
	s.close()
	eventually(t, "a closed connection is noticed at the next beat", func() bool { h.server.shard.Hub().Beat(); return h.server.shard.Hub().Len() == 0 })
}
