package hark

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// everything is what an app may read of a home.
var everything = []string{"r:devices:*", "r:locations:*", "r:security:locations:*:armstate", "r:hubs:*", "r:scenes:*"}

// TestEverySourceType takes each source type through its life: created, echoed, listed, an
// event by its real cause in both envelopes and on a stream, deleted, and silence after that.
func TestEverySourceType(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	api := h.install("sources", everything...)
	smart := receive(t, h.server.BaseURL())
	smartID := h.installSmartApp("smart-sources", smart, object{}, everything...)
	lamp, door, hub := h.device("Floor lamp"), h.device("Front door"), h.device("Hub")
	modes := h.ok("GET", "/locations/"+h.location+"/modes", nil)
	n := 0 // of causes so far: each differs from the one before
	flip := func(a, b string) string { return map[bool]string{true: a, false: b}[n%2 == 0] }
	health := func(device string) {
		h.ok("PUT", "/hark/v1/devices/"+device+"/health", object{"state": flip("OFFLINE", "ONLINE")})
	}
	var scene string
	for _, c := range []struct {
		source, event string
		detail, echo  object
		cause         func()
		content       map[string]string
	}{
		{
			"DEVICE", "DEVICE_EVENT", object{"deviceId": lamp},
			object{"deviceId": lamp, "componentId": "*", "capability": "*", "attribute": "*", "value": "*", "stateChangeOnly": true, "modes": []any{}},
			func() { h.report(lamp, "switch", "switch", flip("on", "off")) },
			map[string]string{"deviceId": lamp, "value": "on", "valueType": "string", "stateChange": "true", "componentId": "main", "capability": "switch", "attribute": "switch"},
		}, {
			"CAPABILITY", "DEVICE_EVENT", object{"locationId": h.location, "capability": "switch"},
			object{"locationId": h.location, "capability": "switch", "attribute": "*", "value": "*", "stateChangeOnly": true, "modes": []any{}},
			func() { h.report(lamp, "switch", "switch", flip("on", "off")) },
			map[string]string{"deviceId": lamp},
		}, {
			"MODE", "MODE_EVENT", object{"locationId": h.location}, object{"locationId": h.location},
			func() {
				h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": get(modes, "items", 1-n%2, "id")})
			},
			map[string]string{"modeId": get(modes, "items", 1, "id")},
		}, {
			"DEVICE_LIFECYCLE", "DEVICE_LIFECYCLE_EVENT", object{"locationId": h.location}, object{"locationId": h.location, "deviceIds": []any{}},
			func() { h.ok("PUT", "/devices/"+lamp, object{"label": flip("Tall lamp", "Floor lamp")}) },
			map[string]string{"lifecycle": "UPDATE", "deviceId": lamp, "deviceName": "Tall lamp", "principal": "personal access token hark dev"},
		}, {
			"DEVICE_HEALTH", "DEVICE_HEALTH_EVENT", object{"deviceIds": []string{door}}, object{"locationId": h.location, "deviceIds": []any{door}},
			func() { health(door) },
			map[string]string{"deviceId": door, "hubId": hub, "status": "OFFLINE", "reason": "NONE", "eventSource": "HUBDEVICE"},
		}, {
			"SECURITY_ARM_STATE", "SECURITY_ARM_STATE_EVENT", object{"locationId": h.location}, object{"locationId": h.location},
			func() {
				h.ok("PUT", "/hark/v1/locations/"+h.location+"/armstate", object{"armState": flip("ARMED_AWAY", "DISARMED"), "optionalArguments": object{"by": object{"valueType": "STRING_VALUE", "stringValue": "key"}}})
			},
			map[string]string{"armState": "ARMED_AWAY", "optionalArguments": `{"by":{"stringValue":"key","valueType":"STRING_VALUE"}}`},
		}, {
			"HUB_HEALTH", "HUB_HEALTH_EVENT", object{"locationId": h.location}, object{"locationId": h.location},
			func() { health(hub) },
			map[string]string{"hubId": hub, "status": "OFFLINE", "reason": "DISCONNECTED"},
		}, {
			"SCENE_LIFECYCLE", "SCENE_LIFECYCLE_EVENT", object{"locationId": h.location}, object{"locationId": h.location},
			func() {
				if n%2 == 0 {
					scene = get(h.ok("POST", "/scenes", object{"locationId": h.location, "sceneName": "Movie"}), "sceneId")
				} else {
					h.ok("DELETE", "/scenes/"+scene, nil)
				}
			},
			map[string]string{"lifecycle": "CREATE"},
		},
	} {
		key, named := member(c.source), c.event == "DEVICE_EVENT"
		c.detail["subscriptionName"], c.echo["subscriptionName"] = "theHandler", "theHandler"
		create := object{"sourceType": c.source, key: c.detail}
		apps := map[string]*receiver{api.installed: api.receiver, smartID: smart}
		for installed := range apps {
			made := h.ok("POST", "/v1/installedapps/"+installed+"/subscriptions", create)
			equal(t, c.source+": the echo", get(made, key), get(c.echo))
			equal(t, c.source+": the source type", get(made, "sourceType"), c.source)
			equal(t, c.source+": the installed app", get(made, "installedAppId"), installed)
			equal(t, c.source+": the list", get(h.ok("GET", "/installedapps/"+installed+"/subscriptions", nil), "items", 0), get(made))
			equal(t, c.source+": by its id", get(h.ok("GET", "/installedapps/"+installed+"/subscriptions/"+get(made, "id"), nil)), get(made))
			contains(t, c.source+": made twice", get(h.refused(http.StatusConflict, "POST", "/installedapps/"+installed+"/subscriptions", create), "message"), "theHandler")
		}
		n = 0
		stream := h.listen(get(h.stream(object{"type": "LOCATIONIDS", "value": []string{h.location}, "eventType": []string{c.event}}), "registrationUrl"), "")
		c.cause()
		streamed := stream.next(c.event).json()
		if at, ok := streamed["eventTime"].(float64); !ok || time.Since(time.UnixMilli(int64(at))).Abs() > time.Minute {
			t.Errorf("%s: the stream's time is %v", c.source, streamed["eventTime"])
		}
		bodies := map[string]object{"the stream": streamed}
		for installed, r := range apps {
			call := r.next()
			for get(call, "lifecycle") == "CONFIRMATION" || get(call, "messageType") == "CONFIRMATION" {
				call = r.next()
			}
			envelope := "messageType"
			if r == smart {
				envelope = "lifecycle"
			}
			equal(t, c.source+": the envelope", get(call, envelope), "EVENT")
			equal(t, c.source+": whose it is", get(call, "eventData", "installedApp", "installedAppId"), installed)
			e := call["eventData"].(object)["events"].([]any)[0].(object)
			if _, err := time.Parse(time.RFC3339, get(e, "eventTime")); err != nil {
				t.Errorf("%s: %v", c.source, err)
			}
			bodies[envelope] = e
		}
		for where, e := range bodies {
			what := c.source + " in " + where
			equal(t, what+": the type", get(e, "eventType"), c.event)
			content := e[member(c.event)].(object)
			equal(t, what+": the location", get(content, "locationId"), h.location)
			equal(t, what+": the same event", get(content, "eventId"), get(bodies["lifecycle"], member(c.event), "eventId"))
			for field, want := range c.content {
				equal(t, what+": "+field, get(content, field), want)
			}
			switch {
			case where == "the stream":
				equal(t, what+": the owner", get(content, "ownerType"), "LOCATION")
			case named:
				equal(t, what+": the name", get(content, "subscriptionName"), "theHandler")
			case content["subscriptionName"] != nil:
				t.Errorf("%s has a subscription's name", what)
			}
		}
		stream.close()
		for installed := range apps {
			equal(t, c.source+": deleted", get(h.ok("DELETE", "/installedapps/"+installed+"/subscriptions", nil), "count"), "1")
			h.ok("POST", "/installedapps/"+installed+"/subscriptions", object{"sourceType": "DEVICE", "device": object{"deviceId": door, "attribute": "contact", "subscriptionName": "marker", "stateChangeOnly": false}})
		}
		n++
		c.cause() // nobody wants it any more
		h.report(door, "contactSensor", "contact", "open")
		for installed, r := range apps {
			for e := r.event(); ; e = r.event() {
				if name := get(e, "deviceEvent", "subscriptionName"); name != "marker" {
					t.Errorf("%s: after the deletion comes %v", c.source, e)
					continue
				}
				break
			}
			h.ok("DELETE", "/installedapps/"+installed+"/subscriptions", nil)
		}
		n = 1
	}
}

// TestScopesOfSourceTypes asks for each subscription without its scope, and with it.
func TestScopesOfSourceTypes(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	for i, c := range []struct {
		source  string
		detail  object
		without string // a scope that is near, but not enough
		missing string
		with    string
	}{
		{"DEVICE", object{"deviceId": lamp}, "r:devices:" + door, "r:devices:" + lamp, "r:devices:" + lamp},
		{"CAPABILITY", object{"locationId": h.location, "capability": "switch"}, "r:devices:" + lamp, "r:devices:* or r:devices:*:switch", "r:devices:*:switch"},
		{"MODE", object{"locationId": h.location}, "r:devices:*", "r:locations:" + h.location, "r:locations:" + h.location},
		{"DEVICE_LIFECYCLE", object{"deviceIds": []string{lamp, door}}, "r:devices:" + lamp, "r:devices:" + door, "r:devices"},
		{"DEVICE_LIFECYCLE", object{"locationId": h.location}, "x:devices:*", "r:devices:$", "r:devices:" + lamp},
		{"DEVICE_HEALTH", object{"deviceIds": []string{lamp}}, "r:hubs:*", "r:devices:" + lamp, "r:devices:*"},
		{"SECURITY_ARM_STATE", object{"locationId": h.location}, "r:locations:*", "r:security:locations:" + h.location + ":armstate", "r:security:locations:*:armstate"},
		{"HUB_HEALTH", object{"locationId": h.location}, "r:devices:*", "r:hubs", "r:hubs"},
		{"SCENE_LIFECYCLE", object{"locationId": h.location}, "x:scenes:*", "r:scenes:*", "r:scenes:*"},
	} {
		a := h.install(fmt.Sprint("scopes-", i), c.without)
		create := object{"sourceType": c.source, member(c.source): c.detail}
		path := "/installedapps/" + a.installed + "/subscriptions"
		contains(t, c.source, get(h.as(a.access).refused(http.StatusForbidden, "POST", path, create), "message"), "Missing scope "+c.missing, c.without)
		h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{c.with}})
		h.as(a.access).ok("POST", path, create)
	}
	// Of all the devices of a location, each event is for a device that may be read.
	a := h.install("some", "r:devices:"+lamp)
	a.subscribe("DEVICE_HEALTH", object{})
	for _, d := range []string{door, lamp} {
		h.ok("PUT", "/hark/v1/devices/"+d+"/health", object{"state": "OFFLINE"})
	}
	equal(t, "the device", get(a.event(), "deviceHealthEvent", "deviceId"), lamp)
}

// TestDeviceLifecycles adds, renames, moves and deletes devices.
func TestDeviceLifecycles(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("lives", everything...)
	a.subscribe("DEVICE_LIFECYCLE", object{"subscriptionName": "lives"})
	a.subscribe("CAPABILITY", object{"capability": "switch", "subscriptionName": "switches"})
	stream := h.listen(get(h.stream(object{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{"DEVICE_EVENT", "DEVICE_LIFECYCLE_EVENT"}}), "registrationUrl"), "")
	next := func(lifecycle string) object {
		t.Helper()
		e := a.event()
		content, _ := e["deviceLifecycleEvent"].(object)
		equal(t, "the lifecycle", get(content, "lifecycle"), lifecycle)
		if lifecycle != "MOVE_TO" && lifecycle != "MOVE_FROM" {
			shown := stream.next("DEVICE_LIFECYCLE_EVENT").json()
			equal(t, "the same on the stream", get(shown, "deviceLifecycleEvent", "eventId"), get(content, "eventId"))
		}
		return content
	}
	made := h.ok("POST", "/virtualdevices/prototypes", object{"name": "Heater", "owner": object{"ownerType": "LOCATION", "ownerId": h.location}, "prototype": "VIRTUAL_SWITCH", "hubId": h.device("Hub")})
	heater := get(made, "deviceId")
	e := next("CREATE")
	equal(t, "the device", get(e, "deviceId")+get(e, "deviceName"), heater+"Heater")
	equal(t, "the details", get(e, "create"), fmt.Sprintf(`{"categories":[{"name":"Switch"}],"hubId":%q,"manufacturerName":"hark","parentDeviceId":"","presentationId":"VIRTUAL_SWITCH"}`, h.device("Hub")))

	// A CAPABILITY subscription covers it without the app doing anything.
	h.report(heater, "switch", "switch", "on")
	equal(t, "the event of the new device", get(a.event(), "deviceEvent", "subscriptionName"), "switches")
	stream.next("DEVICE_EVENT")

	h.ok("PUT", "/devices/"+heater, object{"label": "Oil heater"})
	e = next("UPDATE")
	equal(t, "the old and new label", get(e, "update", "labelDiff"), `{"new":"Oil heater","old":"Heater"}`)
	rooms := h.ok("GET", "/locations/"+h.location+"/rooms", nil)
	room := get(rooms, "items", 1, "roomId")
	h.ok("PUT", "/devices/"+heater, object{"roomId": room})
	equal(t, "the rooms", get(next("ROOM_MOVE"), "roomMove"), fmt.Sprintf(`{"roomIdFrom":"","roomIdTo":%q}`, room))
	h.ok("DELETE", "/locations/"+h.location+"/rooms/"+room, nil)
	for range 5 { // with the four that were in the room before
		equal(t, "out of the deleted room", get(next("ROOM_MOVE"), "roomMove"), fmt.Sprintf(`{"roomIdFrom":%q,"roomIdTo":""}`, room))
	}

	// To another home: the old one hears where to, the new one where from.
	other := get(h.ok("POST", "/locations", object{"name": "Cottage"}), "locationId")
	there := *h
	there.location = other
	b := there.install("there", everything...)
	b.subscribe("DEVICE_LIFECYCLE", object{})
	contains(t, "a move to nowhere", get(h.refused(http.StatusForbidden, "PUT", "/devices/"+heater, object{"locationId": heater}), "message"), "no location")
	h.ok("PUT", "/devices/"+heater, object{"locationId": other})
	equal(t, "where to", get(next("MOVE_TO"), "moveTo", "locationId"), other)
	equal(t, "where from", get(b.event(), "deviceLifecycleEvent", "moveFrom", "locationId"), h.location)
	h.report(heater, "switch", "switch", "off") // no subscription of the old home sees it
	h.ok("PUT", "/devices/"+heater, object{"locationId": h.location})
	equal(t, "back: where from", get(next("MOVE_FROM"), "moveFrom", "locationId"), other)
	equal(t, "back: where to", get(b.event(), "deviceLifecycleEvent", "moveTo", "locationId"), h.location)
	stream.next("DEVICE_EVENT") // streams are not told of moves: clients fail at them

	h.ok("DELETE", "/devices/"+heater, nil)
	equal(t, "the deleted device", get(next("DELETE"), "deviceName"), "Oil heater")
	h.refused(http.StatusForbidden, "POST", "/virtualdevices/"+heater+"/events", object{"deviceEvents": []object{{"capability": "switch", "attribute": "switch", "value": "on"}}})
}

// TestHealth has devices fall silent and hubs go offline.
func TestHealth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("health", everything...)
	a.subscribe("DEVICE_HEALTH", object{})
	a.subscribe("HUB_HEALTH", object{})
	next := func(device, status, reason string) {
		t.Helper()
		e := a.event()
		equal(t, "the health event", get(e, "deviceHealthEvent", "deviceId")+get(e, "deviceHealthEvent", "status")+get(e, "deviceHealthEvent", "reason"), device+status+reason)
	}
	made := h.ok("POST", "/virtualdevices/prototypes", object{"name": "Quiet", "owner": object{"ownerType": "LOCATION", "ownerId": h.location}, "prototype": "VIRTUAL_SWITCH", "checkInterval": 1})
	quiet := get(made, "deviceId")
	next(quiet, "OFFLINE", "SERVICE_UNAVAILABLE")
	equal(t, "the health", get(h.ok("GET", "/devices/"+quiet+"/health", nil), "state"), "OFFLINE")
	h.stop()
	h = run(t, dir)
	a.instance = h
	equal(t, "the health after a restart", get(h.ok("GET", "/devices/"+quiet+"/health", nil), "state"), "OFFLINE")
	h.report(quiet, "switch", "switch", "on") // who speaks is online, until it falls silent again
	next(quiet, "ONLINE", "NONE")
	next(quiet, "OFFLINE", "SERVICE_UNAVAILABLE")
	h.ok("PUT", "/devices/"+quiet, object{"checkInterval": 0})
	h.report(quiet, "switch", "switch", "off")
	next(quiet, "ONLINE", "NONE")

	// A device that says of itself how often it reports, and that it is offline.
	profile := h.ok("POST", "/deviceprofiles", object{"name": "checked", "components": []object{{"id": "main", "capabilities": []object{{"id": "healthCheck"}}}}})
	made = h.ok("POST", "/virtualdevices", object{"name": "Checked", "owner": object{"ownerType": "LOCATION", "ownerId": h.location}, "deviceProfileId": get(profile, "id")})
	checked := get(made, "deviceId")
	h.report(checked, "healthCheck", "checkInterval", 1)
	next(checked, "OFFLINE", "SERVICE_UNAVAILABLE")
	h.report(checked, "healthCheck", "checkInterval", 3600)
	next(checked, "ONLINE", "NONE")
	h.report(checked, "healthCheck", "DeviceWatch-DeviceStatus", "offline")
	next(checked, "OFFLINE", "NONE")

	// A hub takes the devices behind it along, and brings them back.
	hub, door := h.device("Hub"), h.device("Front door")
	h.ok("PUT", "/hark/v1/devices/"+door+"/health", object{"state": "OFFLINE", "reason": "ZIGBEE_OFFLINE"})
	next(door, "OFFLINE", "ZIGBEE_OFFLINE")
	var behind []string
	for _, d := range h.ok("GET", "/devices", nil)["items"].([]any) {
		if get(d, "hubId") == hub && get(d, "deviceId") != door {
			behind = append(behind, get(d, "deviceId"))
		}
	}
	for _, c := range []struct{ status, hubReason, reason string }{{"OFFLINE", "DISCONNECTED", "HUB_DISCONNECTED"}, {"ONLINE", "NONE", "NONE"}} {
		h.ok("PUT", "/hark/v1/devices/"+hub+"/health", object{"state": c.status})
		next(hub, c.status, c.reason)
		e := a.event()
		equal(t, "the hub", get(e, "hubHealthEvent", "hubId")+get(e, "hubHealthEvent", "status")+get(e, "hubHealthEvent", "reason"), hub+c.status+c.hubReason)
		var seen []string
		for range behind {
			e := a.event()
			equal(t, "behind the hub", get(e, "deviceHealthEvent", "status")+get(e, "deviceHealthEvent", "reason"), c.status+c.reason)
			seen = append(seen, get(e, "deviceHealthEvent", "deviceId"))
		}
		equal(t, "the devices behind the hub", fmt.Sprint(sorted(seen)), fmt.Sprint(sorted(behind)))
	}
	equal(t, "the door, which was offline before", get(h.ok("GET", "/devices/"+door+"/health", nil), "state"), "OFFLINE")
	h.ok("PUT", "/hark/v1/devices/"+hub+"/health", object{"state": "ZIGBEE_OFFLINE"})
	equal(t, "a radio", get(a.event(), "hubHealthEvent", "status"), "ZIGBEE_OFFLINE")
	equal(t, "the hub itself", get(h.ok("GET", "/hubdevices/"+hub, nil), "state"), "ONLINE")
	h.ok("PUT", "/hark/v1/devices/"+hub+"/health", object{"state": "ONLINE"}) // as it is: no event
	h.ok("PUT", "/hark/v1/devices/"+door+"/health", object{"state": "ONLINE"})
	next(door, "ONLINE", "NONE")
	for _, body := range []object{{"state": "ASLEEP"}, {"state": "OFFLINE", "reason": "BORED"}, {"state": "ZIGBEE_OFFLINE"}} {
		h.refused(http.StatusUnprocessableEntity, "PUT", "/hark/v1/devices/"+door+"/health", body)
	}
}

// TestScenes makes, executes, changes and deletes scenes.
func TestScenes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	away := get(h.ok("GET", "/locations/"+h.location+"/modes", nil), "items", 1, "id")
	a := h.install("scenes", everything...)
	a.subscribe("SCENE_LIFECYCLE", object{})
	command := func(device, capability, command string, arguments ...any) object {
		return object{"command": object{"devices": []string{device}, "commands": []object{{"capability": capability, "command": command, "arguments": arguments}}}}
	}
	made := h.ok("POST", "/scenes", object{"locationId": h.location, "sceneName": "Leaving", "sceneIcon": "15", "actions": []object{
		command(lamp, "switch", "on"), command(light, "switchLevel", "setLevel", 7), {"location": object{"mode": away}}, {"security": object{"armState": "ARMED_AWAY"}},
	}})
	scene := get(made, "sceneId")
	equal(t, "created", get(a.event(), "sceneLifecycleEvent", "lifecycle"), "CREATE")
	for _, want := range []string{"sceneName", "sceneIcon", "locationId", "createdDate"} {
		if get(made, want) == "" {
			t.Errorf("the scene lacks %s: %v", want, made)
		}
	}
	equal(t, "the answer", get(h.ok("POST", "/v1/scenes/"+scene+"/execute?locationId="+h.location, nil), "status"), "success")
	equal(t, "the lamp", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "on")
	equal(t, "the light", get(h.ok("GET", "/devices/"+light+"/status", nil), "components", "main", "switchLevel", "level", "value"), "7")
	equal(t, "the mode", get(h.ok("GET", "/locations/"+h.location+"/modes/current", nil), "id"), away)
	equal(t, "the arm state", get(h.ok("GET", "/hark/v1/locations/"+h.location+"/armstate", nil), "armState"), "ARMED_AWAY")
	h.ok("PUT", "/scenes/"+scene, object{"sceneName": "Gone"})
	e := a.event()
	equal(t, "updated", get(e, "sceneLifecycleEvent", "lifecycle")+get(e, "sceneLifecycleEvent", "sceneId"), "UPDATE"+scene)

	// Whoever may execute scenes need not hold what they do; others may not, and are told why.
	executor := h.install("executor", "x:scenes:*")
	h.as(executor.access).ok("POST", "/scenes/"+scene+"/execute", nil)
	contains(t, "without the scope", get(h.as(a.access).refused(http.StatusForbidden, "POST", "/scenes/"+scene+"/execute", nil), "message"), "x:scenes:"+scene)

	h.stop()
	h = run(t, dir)
	a.instance = h
	list := h.ok("GET", "/scenes?locationId="+h.location, nil)
	equal(t, "after a restart", get(list, "items", 0, "sceneName"), "Gone")
	if get(list, "items", 0, "lastExecutedDate") == "" {
		t.Error("the scene does not say when it was executed")
	}
	equal(t, "the arm state after a restart", get(h.ok("GET", "/hark/v1/locations/"+h.location+"/armstate", nil), "armState"), "ARMED_AWAY")
	h.ok("DELETE", "/devices/"+lamp, nil)
	refusal := h.refused(http.StatusUnprocessableEntity, "POST", "/scenes/"+scene+"/execute", nil)
	equal(t, "the action that failed", get(refusal, "details", 0, "target"), "actions[0]")
	contains(t, "why", get(refusal, "details", 0, "message"), lamp)
	h.ok("DELETE", "/scenes/"+scene, nil)
	equal(t, "deleted", get(a.event(), "sceneLifecycleEvent", "lifecycle"), "DELETE")
	h.refused(http.StatusForbidden, "GET", "/scenes/"+scene, nil)
	for target, body := range map[string]object{
		"sceneName":                              {"locationId": h.location},
		"actions[0]":                             {"locationId": h.location, "sceneName": "x", "actions": []object{{}}},
		"actions[0].command.devices":             {"locationId": h.location, "sceneName": "x", "actions": []object{command(lamp, "switch", "on")}},
		"actions[1].command.commands[0].command": {"locationId": h.location, "sceneName": "x", "actions": []object{command(light, "switch", "on"), command(light, "switch", "explode")}},
		"actions[0].location.mode":               {"locationId": h.location, "sceneName": "x", "actions": []object{{"location": object{"mode": scene}}}},
		"actions[0].security.armState":           {"locationId": h.location, "sceneName": "x", "actions": []object{{"security": object{"armState": "ARMED"}}}},
	} {
		equal(t, "what is refused", get(h.refused(http.StatusUnprocessableEntity, "POST", "/scenes", body), "target"), target)
	}
}

// TestSchedules fires timers, also over a restart. Cron is tested with a clock that is set, in
// package shard.
func TestSchedules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("timers", "r:locations:*")
	own := h.as(a.access)
	path := "/installedapps/" + a.installed + "/schedules"
	in := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
	made := own.ok("POST", path, object{"name": "daily", "cron": object{"expression": "15 10 * * ? *", "timezone": "Europe/Berlin"}})
	equal(t, "the echo", get(made, "cron"), `{"expression":"15 10 * * ? *","timezone":"Europe/Berlin"}`)
	equal(t, "whose it is", get(made, "installedAppId")+get(made, "locationId"), a.installed+h.location)
	if len(made["scheduledExecutions"].([]any)) != 1 {
		t.Errorf("the schedule has no next execution: %v", made)
	}
	contains(t, "made twice", get(own.refused(http.StatusConflict, "POST", path, object{"name": "daily", "cron": object{"expression": "15 10 * * ? *"}}), "message"), `CRON schedule named "daily"`, "DELETE")
	own.ok("POST", path, object{"name": "soon", "once": object{"time": in(200 * time.Millisecond)}})
	e := a.event()
	equal(t, "the type", get(e, "eventType"), "TIMER_EVENT")
	equal(t, "the timer", get(e, "timerEvent", "name")+get(e, "timerEvent", "type")+get(e, "timerEvent", "expression"), "soonONCE")
	if _, err := time.Parse(time.RFC3339, get(e, "timerEvent", "time")); err != nil || get(e, "timerEvent", "eventId") == "" {
		t.Errorf("the timer event is %v", e)
	}
	eventually(t, "what is due no more is gone", func() bool { return len(own.ok("GET", path, nil)["items"].([]any)) == 1 })

	// With overwrite the last one counts; without, each does.
	later := in(time.Hour)
	own.ok("POST", path, object{"name": "one", "once": object{"time": later}})
	own.ok("POST", path, object{"name": "one", "once": object{"time": in(300 * time.Millisecond), "overwrite": true}})
	equal(t, "overwritten", get(a.event(), "timerEvent", "name"), "one")
	own.ok("POST", path, object{"name": "two", "once": object{"time": in(time.Second), "overwrite": false}})
	both := own.ok("POST", path, object{"name": "two", "once": object{"time": in(300 * time.Millisecond), "overwrite": false}})
	if len(both["scheduledExecutions"].([]any)) != 2 {
		t.Errorf("two executions are %v", both["scheduledExecutions"])
	}
	h.stop() // due while nobody is there
	time.Sleep(400 * time.Millisecond)
	h = run(t, dir)
	a.instance, own = h, h.as(a.access)
	for range 2 {
		equal(t, "not overwritten", get(a.event(), "timerEvent", "name"), "two")
	}
	equal(t, "kept over the restart", get(own.ok("GET", path+"/daily", nil), "name"), "daily")
	own.refused(http.StatusForbidden, "GET", path+"/none", nil)
	own.ok("POST", path, object{"name": "never", "once": object{"time": in(300 * time.Millisecond)}})
	equal(t, "deleted by name", get(own.ok("DELETE", path+"/never", nil), "count"), "1")
	equal(t, "deleted all", get(own.ok("DELETE", path, nil), "count"), "1")
	own.ok("POST", path, object{"name": "last", "once": object{"time": in(500 * time.Millisecond)}})
	equal(t, "the deleted one does not fire", get(a.event(), "timerEvent", "name"), "last")
	own.refused(http.StatusUnprocessableEntity, "POST", path, object{"name": "bad", "cron": object{"expression": "every day"}})
}

// TestInstalledAppLifecyclesOnStreams shows who is installed, changed and removed.
func TestInstalledAppLifecyclesOnStreams(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	stream := h.listen(get(h.stream(object{"type": "LOCATIONIDS", "value": []string{"ALL"}, "eventType": []string{"INSTALLED_APP_LIFECYCLE_EVENT"}}), "registrationUrl"), "")
	a := h.install("coming", "r:devices:*")
	next := func(lifecycle string) {
		t.Helper()
		e := stream.next("INSTALLED_APP_LIFECYCLE_EVENT").json()["installedAppLifecycleEvent"].(object)
		equal(t, "the lifecycle", get(e, "lifecycle")+get(e, "installedAppId")+get(e, "appId")+get(e, strings.ToLower(lifecycle)), lifecycle+a.installed+a.appID+"{}")
	}
	next("INSTALL")
	h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{"r:locations:*"}})
	next("UPDATE")
	h.ok("DELETE", "/installedapps/"+a.installed, nil)
	next("DELETE")
	equal(t, "the app is told", get(a.event(), "installedAppLifecycleEvent", "lifecycle"), "DELETE")
}

// TestAFarewellOutlivesAStop uninstalls an app that is down, and stops before it is back.
func TestAFarewellOutlivesAStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("leaving", "r:devices:*")
	refused := make(chan struct{}, 10)
	a.answers(func(call object) int {
		if get(call, "eventData") == "" {
			return http.StatusOK
		}
		refused <- struct{}{}
		return http.StatusServiceUnavailable
	})
	h.ok("DELETE", "/installedapps/"+a.installed, nil)
	<-refused
	h.stop()
	a.answers(func(object) int { return http.StatusOK })
	h = run(t, dir)
	e := a.event()
	equal(t, "the farewell", get(e, "installedAppLifecycleEvent", "lifecycle")+get(e, "installedAppLifecycleEvent", "installedAppId"), "DELETE"+a.installed)
	eventually(t, "it is not said again", func() bool { return len(h.server.shard.Farewells()) == 0 })
}
