package hark

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// wish is a subscription as the model knows it: in the words of the API, without the index.
type wish struct {
	name, device, capability, attribute string // "" is any
	value                               string // "" is any
	changesOnly                         bool
	mode                                string // "" is any
}

func (w wish) wants(device, capability, attribute, value, mode string, changed bool) bool {
	any := func(want, got string) bool { return want == "" || want == got }
	return any(w.device, device) && any(w.capability, capability) && any(w.attribute, attribute) && any(w.value, value) && any(w.mode, mode) && (changed || !w.changesOnly)
}

// TestDeliveriesAgainstModel makes random subscriptions, mode changes, permission changes,
// restarts and reports, and holds what arrives at a receiver against a naive model. A failure
// prints the seed; HARK_SEED runs it again.
func TestDeliveriesAgainstModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HARK_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("HARK_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }

	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("model", "r:devices:*", "r:locations:*")
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	var modes []string
	for _, m := range h.ok("GET", "/locations/"+h.location+"/modes", nil)["items"].([]any) {
		modes = append(modes, get(m, "id"))
	}
	mode, lampReadable := modes[0], true
	state := map[string]string{lamp + "switch": "off", light + "switch": "off", light + "level": "100"}
	wishes := map[string]wish{}
	made := 0
	settled := func() {
		eventually(t, "everything is delivered", func() bool { return get(a.delivery(), "state") == "current" })
	}
	var expected, got []string

	for range 800 {
		switch op := random.IntN(20); {
		case op < 4 && len(wishes) < 12:
			made++
			w := wish{name: fmt.Sprint("s", made), device: pick(lamp, light, ""), attribute: pick("", "switch", "level"), changesOnly: random.IntN(2) == 0, mode: pick("", "", "", modes[0], modes[1])}
			detail := object{"subscriptionName": w.name, "stateChangeOnly": w.changesOnly}
			if w.value = pick("", "", "", "on", "7"); w.value != "" {
				detail["value"] = w.value // "7" as a string equals the number 7
			}
			if w.attribute != "" {
				detail["attribute"] = w.attribute
			}
			if w.mode != "" {
				detail["modes"] = []string{w.mode}
			}
			body := object{"sourceType": "DEVICE", "device": detail}
			if w.device == "" {
				w.capability = pick("switch", "switchLevel")
				detail["capability"], detail["locationId"] = w.capability, h.location
				body = object{"sourceType": "CAPABILITY", "capability": detail}
			} else {
				detail["deviceId"] = w.device
			}
			switch status, _, content := h.try("POST", "/installedapps/"+a.installed+"/subscriptions", body); {
			case status == http.StatusOK:
				wishes[w.name] = w
			case status == http.StatusConflict: // the same filters again
			case status == http.StatusForbidden && !lampReadable && (w.device == lamp || w.device == ""):
			default:
				t.Fatalf("subscribe %+v: %d %s", w, status, content)
			}
		case op < 6 && len(wishes) > 0:
			names := make([]string, 0, len(wishes))
			for name := range wishes {
				names = append(names, name)
			}
			slices.Sort(names)
			name := pick(names...)
			h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+name, nil)
			delete(wishes, name)
		case op < 8:
			mode = pick(modes...)
			h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": mode})
		case op == 8:
			settled() // permissions count at delivery, so none may be under way
			lampReadable = !lampReadable
			permissions := []string{"r:devices:" + light, "r:locations:*"}
			if lampReadable {
				permissions = []string{"r:devices:*", "r:locations:*"}
			}
			h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": permissions})
		case op == 9 && random.IntN(4) == 0:
			h.stop()
			h = run(t, dir)
			a.instance = h
		default:
			device, attribute, capability := pick(lamp, light), "switch", "switch"
			value := any(pick("on", "off"))
			if device == light && random.IntN(2) == 0 {
				attribute, capability, value = "level", "switchLevel", 5+random.IntN(4)
			}
			text := fmt.Sprint(value)
			changed := state[device+attribute] != text
			state[device+attribute] = text
			equal(t, "the state change", h.report(device, capability, attribute, value), fmt.Sprint(changed))
			var names []string
			for _, w := range wishes {
				if w.wants(device, capability, attribute, text, mode, changed) && (device != lamp || lampReadable) {
					names = append(names, w.name+"="+text)
				}
			}
			slices.Sort(names) // the order of one event's subscriptions is not promised
			expected = append(expected, names...)
			var arrived []string
			for range names {
				e := a.event()
				arrived = append(arrived, get(e, "deviceEvent", "subscriptionName")+"="+get(e, "deviceEvent", "value"))
			}
			slices.Sort(arrived)
			got = append(got, arrived...)
			if !slices.Equal(names, arrived) {
				t.Fatalf("%s %s=%s in mode %s (changed %v) brings %v, the model says %v", device, attribute, text, mode, changed, arrived, names)
			}
		}
	}
	settled()
	if len(a.calls) > 0 {
		t.Errorf("%d calls came that the model does not know, such as %v", len(a.calls), a.next())
	}
	t.Logf("%d subscriptions, %d deliveries", made, len(expected))
	if len(got) != len(expected) || len(expected) < 20 {
		t.Errorf("%d deliveries, the model says %d", len(got), len(expected))
	}
}
