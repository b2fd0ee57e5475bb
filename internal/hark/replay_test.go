package hark

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// replay runs one to its end and returns it.
func (a *app) replay(request object) object {
	a.instance.t.Helper()
	path := "/hark/v1/installedapps/" + a.installed + "/replays"
	r := a.ok("POST", path, request)
	eventually(a.instance.t, "the replay ends", func() bool {
		r = a.ok("GET", path+"/"+get(r, "replayId"), nil)
		return get(r, "state") != "running"
	})
	return r
}

// TestReplay sends past events again: of a time, of a device, of ids, dead letters; to the app and
// elsewhere; as fast as asked; marked as what they are.
func TestReplay(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	light, lamp := h.device("Ceiling light"), h.device("Floor lamp")
	a := h.install("again", "r:devices:*")
	event := func(device string, value any) string {
		capability, attribute := "switchLevel", "level"
		if device == lamp {
			capability, attribute = "switch", "switch"
		}
		return get(h.ok("POST", "/hark/v1/events", object{"deviceId": device, "capability": capability, "attribute": attribute, "value": value}), "results", 0, "eventId")
	}
	first := event(light, 1)
	event(lamp, "on")
	time.Sleep(20 * time.Millisecond)
	since := time.Now().UTC().Truncate(time.Millisecond) // as events have it
	time.Sleep(2 * time.Millisecond)
	event(light, 2)
	event(lamp, "off")
	// The subscriptions are made after all that: they see none of it but by replay.
	a.subscribe("DEVICE", object{"deviceId": light})
	a.subscribe("DEVICE", object{"deviceId": lamp})
	r := a.replay(object{})
	equal(t, "the end", get(r, "state")+get(r, "sent"), "finished4")
	equal(t, "all, in order", fmt.Sprint(a.values(4)), "[1 on 2 off]")
	a.replay(object{"since": since})
	equal(t, "those since a time", fmt.Sprint(a.values(2)), "[2 off]")
	a.replay(object{"until": since, "deviceId": light})
	equal(t, "those of a device until a time", fmt.Sprint(a.values(1)), "[1]")
	a.replay(object{"eventIds": []string{first}})
	equal(t, "one event", get(a.event(), "deviceEvent", "eventId"), first)

	// Elsewhere, at a pace.
	marks := make(chan string, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		marks <- q.Header.Get("X-Hark-Replay")
	}))
	t.Cleanup(elsewhere.Close)
	started := time.Now()
	r = a.replay(object{"url": elsewhere.URL, "rate": 20})
	equal(t, "how many went elsewhere", fmt.Sprint(len(marks)), "4")
	equal(t, "the mark", <-marks, get(r, "replayId"))
	if took := time.Since(started); took < 3*time.Second/20 {
		t.Errorf("at 20 a second, four events took %v", took)
	}
	noted := h.ok("GET", "/hark/v1/deliveries?max=1", nil)["items"].([]any)[0]
	equal(t, "what is noted", get(noted, "replay")+get(noted, "request"), get(r, "replayId")+"POST "+elsewhere.URL)

	// Dead letters, once the app is mended.
	h.ok("PUT", "/hark/v1/apps/again/delivery", object{"retries": []string{"1ms"}})
	a.answers(func(object) int { return http.StatusBadRequest })
	event(light, 3)
	eventually(t, "it is a dead letter", func() bool { return get(a.delivery(), "deadLetters") == "1" })
	r = a.replay(object{"deadLetters": true})
	equal(t, "a replay that the app refuses", get(r, "sent")+get(r, "refused")+get(a.delivery(), "deadLetters"), "011")
	a.answers(func(object) int { return http.StatusOK })
	a.replay(object{"deadLetters": true, "url": elsewhere.URL})
	equal(t, "the dead letters after they went elsewhere", get(a.delivery(), "deadLetters"), "1")
	a.replay(object{"deadLetters": true})
	a.only("3")
	equal(t, "the dead letters", get(a.delivery(), "deadLetters"), "0")

	// What cannot be, and a stop.
	path := "/hark/v1/installedapps/" + a.installed + "/replays"
	for field, bad := range map[string]any{"rate": -1, "url": "ftp://x/", "until": "2000-01-01T00:00:00Z"} {
		equal(t, "the target", get(h.refused(http.StatusUnprocessableEntity, "POST", path, object{"since": since, field: bad}), "target"), field)
	}
	slow := h.ok("POST", path, object{"rate": 0.1})
	h.ok("DELETE", path+"/"+get(slow, "replayId"), nil)
	eventually(t, "it stops", func() bool { return get(h.ok("GET", path+"/"+get(slow, "replayId"), nil), "state") == "stopped" })
	h.ok("POST", "/hark/v1/installedapps/"+a.installed+"/pause", nil)
	contains(t, "a replay to a paused app", get(h.refused(http.StatusUnprocessableEntity, "POST", path, object{}), "message"), "/resume")
}
