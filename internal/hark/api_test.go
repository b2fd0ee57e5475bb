package hark

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHomeAPI(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	at := "/locations/" + h.location
	equal(t, "the location's scale", get(h.ok("GET", "/v1"+at+"?allowed=false", nil), "temperatureScale"), "C")
	equal(t, "the list", get(h.ok("GET", "/locations", nil), "items", 0, "locationId"), h.location)
	made := h.ok("POST", "/locations", object{"name": "Cabin", "countryCode": "NOR", "temperatureScale": "C", "timeZoneId": "Europe/Oslo"})
	cabin := get(made, "locationId")
	equal(t, "the renamed location", get(h.ok("PUT", "/locations/"+cabin, object{"name": "Hut"}), "name"), "Hut")
	equal(t, "what the rename left", get(h.ok("GET", "/locations/"+cabin, nil), "timeZoneId"), "Europe/Oslo")
	equal(t, "its modes", fmt.Sprint(len(h.ok("GET", "/locations/"+cabin+"/modes", nil)["items"].([]any))), "3")
	h.refused(http.StatusUnprocessableEntity, "PUT", "/locations/"+cabin, object{"timeZoneId": "Mars/Olympus"})
	h.ok("DELETE", "/locations/"+cabin, nil)
	h.refused(http.StatusForbidden, "GET", "/locations/"+cabin, nil)

	mode := get(h.ok("POST", at+"/modes", object{"label": "Party"}), "id")
	h.refused(http.StatusConflict, "POST", at+"/modes", object{"label": "party"})
	equal(t, "the current mode", get(h.ok("GET", at+"/modes/current", nil), "label"), "Home")
	equal(t, "the new mode", get(h.ok("PUT", at+"/modes/current", object{"modeId": mode}), "label"), "Party")
	equal(t, "the renamed mode", get(h.ok("PUT", at+"/modes/"+mode, object{"label": "Disco"}), "name"), "Disco")
	contains(t, "deleting the current mode", get(h.refused(http.StatusConflict, "DELETE", at+"/modes/"+mode, nil), "message"), "Disco")
	contains(t, "an unknown mode", get(h.refused(http.StatusForbidden, "PUT", at+"/modes/current", object{"modeId": h.location}), "message"), "Disco "+mode)

	room := get(h.ok("POST", at+"/rooms", object{"name": "Attic"}), "roomId")
	lamp := h.device("Floor lamp")
	equal(t, "the moved device", get(h.ok("PUT", "/devices/"+lamp, object{"roomId": room}), "roomId"), room)
	equal(t, "the room's device", get(h.ok("GET", at+"/rooms/"+room+"/devices", nil), "items", 0, "deviceId"), lamp)
	equal(t, "the renamed room", get(h.ok("PUT", at+"/rooms/"+room, object{"name": "Loft"}), "name"), "Loft")
	h.ok("DELETE", at+"/rooms/"+room, nil)
	equal(t, "the device's room", get(h.ok("GET", "/devices/"+lamp, nil), "roomId"), "")
	h.refused(http.StatusForbidden, "GET", at+"/rooms/"+room, nil)
}

func TestDevicesAPI(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp := h.device("Floor lamp")
	d := h.ok("GET", "/v1/devices/"+lamp, nil)
	equal(t, "the category", get(d, "components", 0, "categories", 0, "categoryType"), "manufacturer")
	equal(t, "the type", get(d, "type"), "VIRTUAL")
	equal(t, "the status", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "off")
	equal(t, "the component's status", get(h.ok("GET", "/devices/"+lamp+"/components/main/status", nil), "switch", "switch", "value"), "off")
	equal(t, "the health", get(h.ok("GET", "/devices/"+lamp+"/health", nil), "state"), "ONLINE")
	h.refused(http.StatusForbidden, "GET", "/devices/"+lamp+"/components/left/status", nil)

	filter := func(query string) string {
		return fmt.Sprint(len(h.ok("GET", "/devices?"+query, nil)["items"].([]any)))
	}
	equal(t, "with both capabilities", filter("capability=switch,switchLevel"), "2")
	equal(t, "with both, repeated", filter("capability=switch&capability=switchLevel"), "2")
	equal(t, "with either", filter("capability=lock,switchLevel&capabilitiesMode=or"), "3")
	equal(t, "by id", filter("deviceId="+lamp), "1")
	equal(t, "in no location", filter("locationId="+lamp), "0")
	next := get(h.ok("GET", "/v1/devices?max=5&capability=battery", nil), "_links", "next", "href")
	contains(t, "the next link", next, "max=5", "page=1", "capability=battery", "/v1/devices")
	whole := h.ok("GET", "/devices?includeStatus=true&includeHealth=true&deviceId="+lamp, nil)
	equal(t, "the included health", get(whole, "items", 0, "healthState", "state"), "ONLINE")
	equal(t, "the included status", get(whole, "items", 0, "components", 0, "status", "switch", "switch", "value"), "off")

	command := func(body any) (int, object) {
		status, _, _ := h.try("POST", "/devices/"+lamp+"/commands", body)
		return status, nil
	}
	if status, _ := command(`[{"capability":"switch","command":"on"}]`); status != http.StatusOK {
		t.Errorf("a bare array of commands: %d", status)
	}
	equal(t, "a command with other members", get(h.ok("POST", "/devices/"+lamp+"/commands", `{"commands":[{"componentId":"main","capability":"switch","command":"off","argumemnts":[]}]}`), "results", 0, "status"), "COMPLETED")
	equal(t, "the status after", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "off")
	light := h.device("Ceiling light")
	refusal := h.refused(http.StatusUnprocessableEntity, "POST", "/devices/"+light+"/commands", object{"commands": []object{{"capability": "switchLevel", "command": "setLevel", "arguments": []any{101}}}})
	equal(t, "the bad argument", get(refusal, "details", 0, "target"), "commands[0].arguments[0]")
	h.ok("POST", "/devices/"+light+"/commands", object{"commands": []object{{"capability": "switchLevel", "command": "setLevel", "arguments": []any{30}}}})
	equal(t, "the light after setLevel", get(h.ok("GET", "/devices/"+light+"/status", nil), "components", "main", "switch", "switch", "value"), "on")

	refusal = h.refused(http.StatusUnprocessableEntity, "POST", "/devices/"+lamp+"/events", object{"deviceEvents": []object{
		{"capability": "switch", "attribute": "switch", "value": "on"}, {"capability": "switch", "attribute": "switch", "value": "bright"}}})
	contains(t, "the bad event", get(refusal, "message"), `"bright"`, `"off", "on"`)
	equal(t, "the status after a half bad request", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "off")
	equal(t, "the renamed device", get(h.ok("PUT", "/devices/"+lamp, object{"label": "Lamp"}), "label"), "Lamp")
	h.ok("DELETE", "/devices/"+lamp, nil)
	contains(t, "a deleted device", get(h.refused(http.StatusForbidden, "GET", "/devices/"+lamp, nil), "message"), lamp)
}

func TestBulkEvents(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	line := func(d, capability, attribute, value string) string {
		return fmt.Sprintf(`{"deviceId":%q,"capability":%q,"attribute":%q,"value":%s}`, d, capability, attribute, value)
	}
	answer := h.ok("POST", "/hark/v1/events", strings.Join([]string{
		line(lamp, "switch", "switch", `"on"`), "", `{"deviceId":`, line(lamp, "switch", "switch", `"on"`), line(lamp, "lock", "lock", `"locked"`),
		line(light, "switchLevel", "level", "7"), line(h.location, "switch", "switch", `"on"`),
	}, "\n"))
	equal(t, "accepted", get(answer, "accepted"), "3")
	equal(t, "rejected", get(answer, "rejected"), "3")
	for i, want := range []struct{ line, part string }{{"1", `"stateChange":true`}, {"3", "BadRequestError"}, {"4", `"stateChange":false`}, {"5", "no capability"}, {"6", "eventId"}, {"7", h.location}} {
		equal(t, "the line", get(answer, "results", i, "line"), want.line)
		contains(t, "line "+want.line, get(answer, "results", i), want.part)
	}
	var many strings.Builder
	for i := range 2500 { // more than one append
		many.WriteString(line(light, "switchLevel", "level", fmt.Sprint(i%101)) + "\n")
	}
	answer = h.ok("POST", "/hark/v1/events", many.String())
	equal(t, "many accepted", get(answer, "accepted"), "2500")
	equal(t, "the last line", get(answer, "results", 2499, "line"), "2500")
	equal(t, "one event", get(h.ok("POST", "/hark/v1/events", "{\n"+line(lamp, "switch", "switch", `"off"`)[1:]), "accepted"), "1")
	equal(t, "an array", get(h.ok("POST", "/hark/v1/events", "["+line(lamp, "switch", "switch", `"on"`)+","+line(lamp, "switch", "switch", `"off"`)+"]"), "accepted"), "2")
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/events", line(lamp, "switch", "switch", `"dim"`))
	h.refused(http.StatusBadRequest, "POST", "/hark/v1/events", "")
	h.refused(http.StatusBadRequest, "POST", "/hark/v1/events", `7`)
	h.refused(http.StatusRequestEntityTooLarge, "POST", "/hark/v1/events", strings.Repeat(" ", 17<<20))
}

func TestVirtualDevicesAndDefinitions(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	owner := object{"ownerType": "LOCATION", "ownerId": h.location}
	equal(t, "a device of no prototype", get(h.ok("POST", "/virtualdevices/prototypes", object{"name": "x", "owner": owner}), "components", 0, "capabilities", 0, "id"), "switch")
	contains(t, "an unknown prototype", get(h.refused(http.StatusUnprocessableEntity, "POST", "/virtualdevices/prototypes", object{"prototype": "VIRTUAL_DRAGON", "owner": owner}), "message"), "VIRTUAL_LOCK")

	definition := object{"name": "Water Level", "attributes": object{"level": object{"schema": object{"type": "object", "properties": object{"value": object{"type": "integer", "minimum": 0, "maximum": 9}}}, "setter": "setLevel"}},
		"commands": object{"setLevel": object{"arguments": []object{{"name": "level", "schema": object{"type": "integer"}}}}}}
	made := h.ok("POST", "/capabilities?namespace=acme", definition)
	equal(t, "the capability's id", get(made, "id"), "acme.waterLevel")
	h.refused(http.StatusConflict, "POST", "/capabilities?namespace=acme", definition)
	equal(t, "the namespace", get(h.ok("GET", "/capabilities/namespaces/acme", nil), "items", 0, "id"), "acme.waterLevel")
	profile := h.ok("POST", "/deviceprofiles", object{"name": "tank", "components": []object{{"id": "main", "capabilities": []object{{"id": "acme.waterLevel"}}}}})
	h.refused(http.StatusUnprocessableEntity, "POST", "/deviceprofiles", object{"name": "tank", "components": []object{{"id": "main", "capabilities": []object{{"id": "acme.fire"}}}}})
	tank := get(h.ok("POST", "/virtualdevices", object{"name": "Tank", "owner": owner, "deviceProfileId": get(profile, "id")}), "deviceId")
	equal(t, "the change", h.report(tank, "acme.waterLevel", "level", 3), "true")
	h.refused(http.StatusUnprocessableEntity, "POST", "/virtualdevices/"+tank+"/events", object{"deviceEvents": []object{{"capability": "acme.waterLevel", "attribute": "level", "value": 10}}})
	h.ok("POST", "/devices/"+tank+"/commands", object{"commands": []object{{"capability": "acme.waterLevel", "command": "setLevel", "arguments": []any{5}}}})
	equal(t, "the level after setLevel", get(h.ok("GET", "/devices/"+tank+"/status", nil), "components", "main", "acme.waterLevel", "level", "value"), "5")
	inline := object{"components": []object{{"id": "main", "capabilities": []object{{"id": "switch"}, {"id": "battery"}}}}}
	equal(t, "a device of an inline profile", get(h.ok("POST", "/virtualdevices", object{"name": "Odd", "owner": owner, "deviceProfile": inline}), "components", 0, "capabilities", 1, "id"), "battery")
	equal(t, "a value's type for the CLI", get(h.ok("GET", "/capabilities/switchLevel/1", nil), "attributes", "level", "schema", "properties", "value", "type"), "integer")
	h.refused(http.StatusForbidden, "GET", "/capabilities/switchLevel/2", nil)
	h.ok("DELETE", "/capabilities/acme.waterLevel/1", nil)
	h.refused(http.StatusForbidden, "DELETE", "/capabilities/switch/1", nil)
}

// TestADeviceOfAnApp makes a cloud device as an installed app and reports with its token.
func TestADeviceOfAnApp(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("maker", "r:locations:*")
	own := h.as(a.access)
	profile := get(h.ok("POST", "/deviceprofiles", object{"name": "p", "components": []object{{"id": "main", "capabilities": []object{{"id": "switch"}}}}}), "id")
	d := own.ok("POST", "/devices", object{"label": "Cloud lamp", "locationId": h.location, "app": object{"profileId": profile, "installedAppId": a.installed, "externalId": "x1"}})
	equal(t, "the external id", get(d, "app", "externalId"), "x1")
	path := "/devices/" + get(d, "deviceId")
	own.ok("POST", path+"/events", object{"deviceEvents": []object{{"capability": "switch", "attribute": "switch", "value": "on"}}})
	equal(t, "its status", get(own.ok("GET", path+"/status", nil), "components", "main", "switch", "switch", "value"), "on")
	own.refused(http.StatusForbidden, "POST", "/devices/"+h.device("Floor lamp")+"/events", object{"deviceEvents": []object{{"capability": "switch", "attribute": "switch", "value": "on"}}})
	other := h.install("other", "r:locations:*")
	h.as(other.access).refused(http.StatusForbidden, "GET", path, nil)

	// Its commands are the app's to execute; nobody has to subscribe to them.
	results := h.ok("POST", path+"/commands", object{"commands": []object{{"capability": "switch", "command": "off"}, {"component": "main", "capability": "switch", "command": "on", "arguments": []any{}}}})
	equal(t, "the result", get(results, "results", 1, "status"), "ACCEPTED")
	e := a.event()
	equal(t, "the type", get(e, "eventType"), "DEVICE_COMMANDS_EVENT")
	content := e["deviceCommandsEvent"].(object)
	equal(t, "the device", get(content, "deviceId")+get(content, "profileId")+get(content, "externalId"), get(d, "deviceId")+profile+"x1")
	equal(t, "the commands", get(content, "commands"), `[{"arguments":[],"capability":"switch","command":"off","componentId":"main"},{"arguments":[],"capability":"switch","command":"on","componentId":"main"}]`)
	h.refused(http.StatusUnprocessableEntity, "POST", path+"/commands", object{"commands": []object{{"capability": "switch", "command": "dim"}}})
	h.ok("DELETE", "/installedapps/"+a.installed, nil)
	contains(t, "nobody executes it", get(h.refused(http.StatusConflict, "POST", path+"/commands", object{"commands": []object{{"capability": "switch", "command": "on"}}}), "message"), "installed no more")
}

func TestRefusalsExplainThemselves(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	contains(t, "no token", get(h.as("").refused(http.StatusUnauthorized, "GET", "/devices", nil), "message"), "Authorization: Bearer", "hark token create")
	contains(t, "a bad token", get(h.as("736e3903-001c-4d40-b408-ff40d162a06b").refused(http.StatusUnauthorized, "GET", "/devices", nil), "message"), "not known here")
	contains(t, "an unknown path", get(h.refused(http.StatusNotFound, "GET", "/v1/nothing", nil), "message"), "/v1/nothing")
	status, header, _ := h.try("PATCH", "/devices", nil)
	if status != http.StatusMethodNotAllowed || header.Get("Allow") != "GET, POST" {
		t.Errorf("PATCH /devices: %d, Allow %q", status, header.Get("Allow"))
	}
	contains(t, "bad JSON", get(h.refused(http.StatusBadRequest, "POST", "/locations", `{"name":`), "message"), "JSON")
	equal(t, "a wrong type's target", get(h.refused(http.StatusBadRequest, "POST", "/locations", `{"name":7}`), "target"), "name")
	equal(t, "a bad id's code", get(h.refused(http.StatusBadRequest, "GET", "/devices/lamp", nil), "code"), "PatternError")
	h.refused(http.StatusBadRequest, "GET", "/devices?page=x", nil)
	h.refused(http.StatusRequestEntityTooLarge, "POST", "/locations", `{"name":"`+strings.Repeat("x", 2<<20)+`"}`)

	made := h.ok("POST", "/hark/v1/tokens", object{"name": "reader", "scopes": []string{"r:devices:*"}, "expiresIn": 3600})
	reader := h.as(get(made, "token"))
	reader.ok("GET", "/devices", nil)
	contains(t, "a missing scope", get(reader.refused(http.StatusForbidden, "GET", "/locations/"+h.location, nil), "message"), "r:locations:"+h.location, "reader", "r:devices:*")
	reader.refused(http.StatusForbidden, "POST", "/hark/v1/tokens", object{"scopes": []string{"r:devices:*"}})
	equal(t, "the listed token", get(h.ok("GET", "/hark/v1/tokens", nil), "items", 1, "token"), "") // shown once only
	h.ok("DELETE", "/hark/v1/tokens/"+get(made, "id"), nil)
	reader.refused(http.StatusUnauthorized, "GET", "/devices", nil)
	h.ok("GET", "/healthz", nil)
	h.ok("GET", "/readyz", nil)
}

func TestStartIsRefusedClearly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	start := func(cfg Config) string {
		cfg.NATS.Replicas = max(cfg.NATS.Replicas, 1)
		s, err := New(context.Background(), cfg, slog.New(slog.DiscardHandler), Serve)
		if err == nil {
			s.close(context.Background())
			return ""
		}
		return err.Error()
	}
	contains(t, "a directory in use", start(Config{Listen: "127.0.0.1:0", Data: dir}), dir, "another hark uses it")
	contains(t, "a port in use", start(Config{Listen: h.server.listener.Addr().String(), Data: t.TempDir()}), "in use", "--listen")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, "a directory that cannot be", start(Config{Listen: "127.0.0.1:0", Data: filepath.Join(file, "data")}), "data directory")
	contains(t, "replicas of one server", start(Config{Listen: "127.0.0.1:0", Data: t.TempDir(), NATS: NATS{Replicas: 3}}), "--nats-url")
	contains(t, "a bad URL", start(Config{Listen: "127.0.0.1:0", Data: t.TempDir(), PublicURL: "hark.example"}), "--public-url")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	contains(t, "an engine that is not there", start(Config{Listen: "127.0.0.1:0", Data: t.TempDir(), NATS: NATS{URL: "nats://" + l.Addr().String()}}), "connect to NATS")
}

// TestTwoServersInOneProcess holds that nothing is global.
func TestTwoServersInOneProcess(t *testing.T) {
	t.Parallel()
	one, two := run(t, t.TempDir()), run(t, t.TempDir())
	one.ok("POST", "/locations", object{"name": "Second"})
	equal(t, "the other's locations", fmt.Sprint(len(two.ok("GET", "/locations", nil)["items"].([]any))), "1")
	two.as(one.token).refused(http.StatusUnauthorized, "GET", "/devices", nil)
}

// TestAnAppSeesItsOwnLocationOnly holds whatever the app's scopes are.
func TestAnAppSeesItsOwnLocationOnly(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	cabin := get(h.ok("POST", "/locations", object{"name": "Cabin"}), "locationId")
	lamp := get(h.ok("POST", "/virtualdevices/prototypes", object{"name": "Cabin lamp", "owner": object{"ownerType": "LOCATION", "ownerId": cabin}}), "deviceId")
	a := h.install("greedy", "r:devices:*", "w:devices:*", "x:devices:*", "r:locations:*", "w:locations:*", "x:locations:*")
	own := h.as(a.access)
	equal(t, "its locations", get(own.ok("GET", "/locations", nil), "items", 1), "")
	mode := get(h.ok("GET", "/locations/"+cabin+"/modes", nil), "items", 1, "id")
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/locations/" + cabin, nil},
		{"PUT", "/locations/" + cabin, object{"name": "Mine"}},
		{"PUT", "/locations/" + cabin + "/modes/current", object{"modeId": mode}},
		{"POST", "/locations/" + cabin + "/rooms", object{"name": "Den"}},
		{"GET", "/devices/" + lamp, nil},
		{"POST", "/devices/" + lamp + "/commands", object{"commands": []object{{"capability": "switch", "command": "on"}}}},
		{"POST", "/virtualdevices/" + lamp + "/events", object{"deviceEvents": []object{{"capability": "switch", "attribute": "switch", "value": "on"}}}},
		{"POST", "/virtualdevices/prototypes", object{"name": "Spy", "owner": object{"ownerType": "LOCATION", "ownerId": cabin}}},
		{"POST", "/installedapps/" + a.installed + "/subscriptions", object{"sourceType": "DEVICE", "device": object{"deviceId": lamp}}},
	} {
		own.refused(http.StatusForbidden, c.method, c.path, c.body)
	}
	equal(t, "the lamp", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "off")
}

// TestNobodyGrantsMoreThanTheyHold installs with a token that may install, but not read devices.
func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	installer := h.as(get(h.ok("POST", "/hark/v1/tokens", object{"name": "installer", "scopes": []string{"w:installedapps:*", "r:installedapps:*", "r:locations:*"}}), "token"))
	app := get(h.ok("POST", "/apps", object{"appName": "grant", "appType": "API_ONLY"}), "app", "appId")
	ask := func(permissions ...string) object {
		return object{"appId": app, "locationId": h.location, "permissions": permissions}
	}
	refusal := installer.refused(http.StatusForbidden, "POST", "/installedapps", ask("r:devices:*"))
	contains(t, "the refusal", get(refusal, "message"), "You cannot grant r:devices:*", "installer")
	in := get(installer.ok("POST", "/installedapps", ask("r:locations:*")), "installedApp", "installedAppId")
	installer.refused(http.StatusForbidden, "PUT", "/installedapps/"+in+"/configs", object{"permissions": []string{"r:devices:*"}})
	equal(t, "the permissions", get(h.ok("GET", "/installedapps/"+in, nil), "permissions"), `["r:locations:*"]`)
}
