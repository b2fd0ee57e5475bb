#!/bin/sh
# Registers and installs the example in the demo home, opens the door and shows the lamp.
set -eu
HARK=${HARK:-http://127.0.0.1:8080}
APP_URL=${APP_URL:-http://127.0.0.1:9001/}
TOKEN=${TOKEN:-$(cat home/dev-token)}

api() {
	path=$1
	shift
	curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$HARK$path" "$@"
	echo
}
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
device() { api /devices | tr '{' '\n' | grep "\"label\":\"$1\"" | field deviceId; }

LOCATION=$(api /locations | field locationId)
DOOR=$(device 'Front door')
LAMP=$(device 'Floor lamp')

APP=$(api '/apps?requireConfirmation=true&signatureType=ST_PADLOCK' -d '{
  "appName": "door-lamp", "displayName": "Door lamp", "appType": "WEBHOOK_SMART_APP",
  "webhookSmartApp": {"targetUrl": "'"$APP_URL"'"},
  "oauth": {"clientName": "Door lamp", "scope": ["r:devices:*", "x:devices:*"]}
}' | field appId)

api /installedapps -d '{
  "appId": "'"$APP"'", "locationId": "'"$LOCATION"'",
  "config": {
    "door": [{"valueType": "DEVICE", "deviceConfig": {"deviceId": "'"$DOOR"'", "componentId": "main"}}],
    "lamp": [{"valueType": "DEVICE", "deviceConfig": {"deviceId": "'"$LAMP"'", "componentId": "main"}}]
  }
}' | field installedAppStatus

api "/virtualdevices/$DOOR/events" -d '{"deviceEvents": [{"component": "main", "capability": "contactSensor", "attribute": "contact", "value": "open"}]}'

for _ in 1 2 3 4 5 6 7 8 9 10; do
	lamp=$(api "/devices/$LAMP/components/main/capabilities/switch/status" | field value)
	[ "$lamp" = on ] && break
	sleep 0.2
done
echo "the lamp is $lamp"
[ "$lamp" = on ]
