package hark

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// wish is a subscription as the model knows it: in the words of the API, without the index.
// What is "" is any.
type wish struct {
	source, name, device, capability, attribute, value, mode string
	changesOnly                                              bool
}

// occurrence is what happened, as the model knows it. Source is that of the subscriptions which
// are about it, DEVICE for what a device reports.
type occurrence struct {
	source, device, capability, attribute, value string
	changed                                      bool
}

func (w wish) wants(o occurrence, mode string) bool {
	any := func(want, got string) bool { return want == "" || want == got }
	if o.source != "DEVICE" {
		return w.source == o.source && any(w.device, o.device)
	}
	return (w.source == "DEVICE" || w.source == "CAPABILITY") && any(w.device, o.device) && any(w.capability, o.capability) && any(w.attribute, o.attribute) &&
		any(w.value, o.value) && any(w.mode, mode) && (o.changed || !w.changesOnly)
}

// modelHome is a home, an app in it, and what the model knows of them.
type modelHome struct {
	*instance
	app          *app
	random       *rand.Rand
	lamp, light  string
	modes        []string
	mode         string
	lampReadable bool
	state        map[string]string
	wishes       map[string]wish
	made, count  int
}

func (m *modelHome) pick(of ...string) string { return of[m.random.IntN(len(of))] }

// subscribe makes a random subscription.
func (m *modelHome) subscribe() {
	m.t.Helper()
	m.made++
	w := wish{name: fmt.Sprint("s", m.made), source: m.pick("DEVICE", "DEVICE", "DEVICE", "CAPABILITY", "CAPABILITY", "MODE", "SECURITY_ARM_STATE", "DEVICE_HEALTH", "DEVICE_LIFECYCLE")}
	detail := object{"subscriptionName": w.name}
	switch w.source {
	case "DEVICE", "CAPABILITY":
		w.attribute, w.mode, w.value = m.pick("", "switch", "level"), m.pick("", "", "", m.modes[0], m.modes[1]), m.pick("", "", "", "on", "7")
		w.changesOnly = m.random.IntN(2) == 0
		detail["stateChangeOnly"] = w.changesOnly
		if w.value != "" {
			detail["value"] = w.value // "7" as a string equals the number 7
		}
		if w.attribute != "" {
			detail["attribute"] = w.attribute
		}
		if w.mode != "" {
			detail["modes"] = []string{w.mode}
		}
		if w.source == "CAPABILITY" {
			w.capability = m.pick("switch", "switchLevel")
			detail["capability"], detail["locationId"] = w.capability, m.location
		} else {
			w.device = m.pick(m.lamp, m.light)
			detail["deviceId"] = w.device
		}
	case "DEVICE_HEALTH", "DEVICE_LIFECYCLE":
		if w.device = m.pick("", m.lamp, m.light); w.device != "" {
			detail["deviceIds"] = []string{w.device}
		}
	default:
		detail["locationId"] = m.location
	}
	switch status, _, content := m.try("POST", "/installedapps/"+m.app.installed+"/subscriptions", object{"sourceType": w.source, member(w.source): detail}); {
	case status == http.StatusOK:
		m.wishes[w.name] = w
	case status == http.StatusConflict: // the same filters again
	case status == http.StatusForbidden && !m.lampReadable && (w.device == m.lamp || w.source == "CAPABILITY"):
	default:
		m.t.Fatalf("subscribe %+v: %d %s", w, status, content)
	}
}

func (m *modelHome) unsubscribe() {
	m.t.Helper()
	name := m.pick(slices.Sorted(maps.Keys(m.wishes))...)
	m.ok("DELETE", "/installedapps/"+m.app.installed+"/subscriptions/"+name, nil)
	delete(m.wishes, name)
}

// happen lets something random happen and returns it; nothing when it was so already.
func (m *modelHome) happen() (o occurrence, happened bool) {
	m.t.Helper()
	device := m.pick(m.lamp, m.light)
	before := func(what, now string) string {
		was := m.state[what]
		m.state[what] = now
		return was
	}
	switch m.random.IntN(8) {
	case 0:
		was := m.mode
		m.mode = m.pick(m.modes...)
		m.ok("PUT", "/locations/"+m.location+"/modes/current", object{"modeId": m.mode})
		return occurrence{source: "MODE", value: m.mode}, was != m.mode
	case 1:
		arm := m.pick("DISARMED", "ARMED_AWAY", "ARMED_STAY")
		m.ok("PUT", "/hark/v1/locations/"+m.location+"/armstate", object{"armState": arm})
		return occurrence{source: "SECURITY_ARM_STATE", value: arm}, before("arm", arm) != arm
	case 2:
		if m.state[device+"health"] == "OFFLINE" {
			return o, false // it comes back when it reports
		}
		m.state[device+"health"] = "OFFLINE"
		m.ok("PUT", "/hark/v1/devices/"+device+"/health", object{"state": "OFFLINE"})
		return occurrence{source: "DEVICE_HEALTH", device: device, value: "OFFLINE"}, true
	case 3:
		label := m.pick("A", "B")
		m.ok("PUT", "/devices/"+device, object{"label": label})
		return occurrence{source: "DEVICE_LIFECYCLE", device: device, value: label}, before(device+"label", label) != label
	}
	o = occurrence{source: "DEVICE", device: device, capability: "switch", attribute: "switch", value: m.pick("on", "off")}
	value := any(o.value)
	if device == m.light && m.random.IntN(2) == 0 {
		level := 5 + m.random.IntN(4)
		o.capability, o.attribute, o.value, value = "switchLevel", "level", fmt.Sprint(level), level
	}
	o.changed = before(device+o.attribute, o.value) != o.value
	if m.state[device+"health"] == "OFFLINE" {
		m.state[device+"health"] = "ONLINE"
		equal(m.t, "the state change", m.report(device, o.capability, o.attribute, value), fmt.Sprint(o.changed))
		m.expect(occurrence{source: "DEVICE_HEALTH", device: device, value: "ONLINE"}) // before what it says
		return o, true
	}
	equal(m.t, "the state change", m.report(device, o.capability, o.attribute, value), fmt.Sprint(o.changed))
	return o, true
}

// expect holds what arrives against what the model says of an occurrence.
func (m *modelHome) expect(o occurrence) {
	m.t.Helper()
	var want, got []string
	for _, w := range m.wishes {
		if w.wants(o, m.mode) && (o.device != m.lamp || m.lampReadable) {
			line := o.source + " " + o.value
			if o.source == "DEVICE" {
				line += " " + w.name
			}
			want = append(want, line)
		}
	}
	for range want {
		e := m.app.event()
		switch get(e, "eventType") {
		case "DEVICE_EVENT":
			got = append(got, "DEVICE "+get(e, "deviceEvent", "value")+" "+get(e, "deviceEvent", "subscriptionName"))
		case "MODE_EVENT":
			got = append(got, "MODE "+get(e, "modeEvent", "modeId"))
		case "SECURITY_ARM_STATE_EVENT":
			got = append(got, "SECURITY_ARM_STATE "+get(e, "securityArmStateEvent", "armState"))
		case "DEVICE_HEALTH_EVENT":
			got = append(got, "DEVICE_HEALTH "+get(e, "deviceHealthEvent", "status"))
		case "DEVICE_LIFECYCLE_EVENT":
			got = append(got, "DEVICE_LIFECYCLE "+get(e, "deviceLifecycleEvent", "deviceName"))
		}
	}
	slices.Sort(want) // the order of one event's subscriptions is not promised
	slices.Sort(got)
	if !slices.Equal(want, got) {
		m.t.Fatalf("%+v in mode %s brings %v, the model says %v", o, m.mode, got, want)
	}
	m.count += len(want)
}

// TestDeliveriesAgainstModel makes random subscriptions, permission changes, restarts and events
// of several types, and holds what arrives at a receiver against a naive model. A failure prints
// the seed; HARK_SEED runs it again.
func TestDeliveriesAgainstModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HARK_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("HARK_SEED=%d", seed)
	dir := t.TempDir()
	h := run(t, dir)
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	m := &modelHome{
		instance: h, app: h.install("model", everything...), random: rand.New(rand.NewPCG(seed, 0)), lamp: lamp, light: light, lampReadable: true, wishes: map[string]wish{},
		state: map[string]string{lamp + "switch": "off", light + "switch": "off", light + "level": "100", "arm": "DISARMED", lamp + "label": "Floor lamp", light + "label": "Ceiling light"},
	}
	for _, mode := range h.ok("GET", "/locations/"+h.location+"/modes", nil)["items"].([]any) {
		m.modes = append(m.modes, get(mode, "id"))
	}
	m.mode = m.modes[0]
	settled := func() {
		t.Helper()
		eventually(t, "everything is delivered", func() bool { return get(m.app.delivery(), "state") == "current" })
	}
	for range 800 {
		switch op := m.random.IntN(20); {
		case op < 4 && len(m.wishes) < 15:
			m.subscribe()
		case op < 6 && len(m.wishes) > 0:
			m.unsubscribe()
		case op == 6:
			settled() // permissions count at delivery, so none may be under way
			m.lampReadable = !m.lampReadable
			permissions := append([]string{"r:devices:" + light}, everything[1:]...)
			if m.lampReadable {
				permissions = everything
			}
			h.ok("PUT", "/installedapps/"+m.app.installed+"/configs", object{"permissions": permissions})
		case op == 7 && m.random.IntN(4) == 0:
			h.stop()
			h = run(t, dir)
			m.instance, m.app.instance = h, h
		default:
			if o, happened := m.happen(); happened {
				m.expect(o)
			}
		}
	}
	settled()
	if len(m.app.calls) > 0 {
		t.Errorf("%d calls came that the model does not know, such as %v", len(m.app.calls), m.app.next())
	}
	t.Logf("%d subscriptions, %d deliveries", m.made, m.count)
	if m.count < 20 {
		t.Errorf("only %d deliveries", m.count)
	}
}
