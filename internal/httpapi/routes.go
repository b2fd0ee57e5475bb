package httpapi

import "net/http"

// routes is the whole surface, each path with and without /v1.
func (a *API) routes() {
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c := &call{API: a, ResponseWriter: w, Request: r}
		_, err := a.noPath(c)
		c.refuse(err)
	})

	a.open("GET /healthz", (*call).healthz)
	a.open("GET /readyz", (*call).readyz)
	a.open("GET /pl/{region}/{fingerprint}", (*call).signingKey)
	a.open("GET /apps/{app}/confirm-registration", (*call).confirmRegistration)
	a.open("POST /oauth/token", (*call).token)
	a.open("POST /oauth/revoke", (*call).revoke)
	a.open("POST /oauth/introspect", (*call).introspect)

	for _, apps := range []string{"/apps", "/smartapps"} { // the second is newer clients' name for it
		a.handle("GET "+apps, (*call).listApps)
		a.handle("POST "+apps, (*call).createApp)
		a.handle("GET "+apps+"/{app}", (*call).getApp)
		a.handle("PUT "+apps+"/{app}", (*call).updateApp)
		a.handle("DELETE "+apps+"/{app}", (*call).deleteApp)
		a.handle("PUT "+apps+"/{app}/register", (*call).registerApp)
		a.handle("PUT "+apps+"/{app}/signature-type", (*call).setSignatureType)
		a.handle("GET "+apps+"/{app}/settings", (*call).getSettings)
		a.handle("PUT "+apps+"/{app}/settings", (*call).setSettings)
		a.handle("GET "+apps+"/{app}/oauth", (*call).getOAuth)
		a.handle("PUT "+apps+"/{app}/oauth", (*call).setOAuth)
		a.handle("POST "+apps+"/{app}/oauth/generate", (*call).generateOAuth)
	}

	a.handle("GET /installedapps", (*call).listInstalled)
	a.handle("POST /installedapps", (*call).install)
	a.handle("GET /installedapps/me", (*call).me)
	a.handle("GET /installedapps/{installedApp}", (*call).getInstalled)
	a.handle("PUT /installedapps/{installedApp}", (*call).renameInstalled)
	a.handle("DELETE /installedapps/{installedApp}", (*call).uninstall)
	a.handle("GET /installedapps/{installedApp}/configs", (*call).listConfigs)
	a.handle("PUT /installedapps/{installedApp}/configs", (*call).reconfigure)
	a.handle("GET /installedapps/{installedApp}/configs/{configuration}", (*call).getConfig)
	a.handle("PUT /installedapps/{installedApp}/configs/{configuration}", (*call).patchConfig)

	a.handle("GET /installedapps/{installedApp}/subscriptions", (*call).listSubscriptions)
	a.handle("POST /installedapps/{installedApp}/subscriptions", (*call).subscribe)
	a.handle("DELETE /installedapps/{installedApp}/subscriptions", (*call).unsubscribeAll)
	a.handle("GET /installedapps/{installedApp}/subscriptions/{subscription}", (*call).getSubscription)
	a.handle("DELETE /installedapps/{installedApp}/subscriptions/{subscription}", (*call).unsubscribe)

	a.handle("GET /installedapps/{installedApp}/schedules", (*call).listSchedules)
	a.handle("POST /installedapps/{installedApp}/schedules", (*call).createSchedule)
	a.handle("DELETE /installedapps/{installedApp}/schedules", (*call).deleteSchedules)
	a.handle("GET /installedapps/{installedApp}/schedules/{schedule}", (*call).getSchedule)
	a.handle("DELETE /installedapps/{installedApp}/schedules/{schedule}", (*call).deleteSchedules)

	a.handle("GET /devices", (*call).listDevices)
	a.handle("POST /devices", (*call).createDevice)
	a.handle("GET /devices/{device}", (*call).getDevice)
	a.handle("PUT /devices/{device}", (*call).updateDevice)
	a.handle("DELETE /devices/{device}", (*call).deleteDevice)
	a.handle("GET /devices/{device}/status", (*call).deviceStatus)
	a.handle("GET /devices/{device}/health", (*call).deviceHealth)
	a.handle("GET /devices/{device}/components/{component}/status", (*call).componentStatus)
	a.handle("GET /devices/{device}/components/{component}/capabilities/{capability}/status", (*call).capabilityStatus)
	a.handle("POST /devices/{device}/commands", (*call).executeCommands)
	a.handle("POST /devices/{device}/events", (*call).deviceEvents)

	a.handle("GET /virtualdevices", (*call).listVirtualDevices)
	a.handle("POST /virtualdevices", (*call).createVirtualDevice)
	a.handle("POST /virtualdevices/prototypes", (*call).createStandardDevice)
	a.handle("POST /virtualdevices/{device}/events", (*call).virtualDeviceEvents)

	a.handle("GET /deviceprofiles", (*call).listProfiles)
	a.handle("POST /deviceprofiles", (*call).createProfile)
	a.handle("GET /deviceprofiles/{profile}", (*call).getProfile)
	a.handle("DELETE /deviceprofiles/{profile}", (*call).deleteProfile)

	a.handle("GET /locations", (*call).listLocations)
	a.handle("POST /locations", (*call).createLocation)
	a.handle("GET /locations/{location}", (*call).getLocation)
	a.handle("PUT /locations/{location}", (*call).updateLocation)
	a.handle("DELETE /locations/{location}", (*call).deleteLocation)
	a.handle("GET /locations/{location}/modes", (*call).listModes)
	a.handle("POST /locations/{location}/modes", (*call).createMode)
	a.handle("GET /locations/{location}/modes/current", (*call).currentMode)
	a.handle("PUT /locations/{location}/modes/current", (*call).setMode)
	a.handle("PUT /locations/{location}/modes/{mode}", (*call).renameMode)
	a.handle("DELETE /locations/{location}/modes/{mode}", (*call).deleteMode)
	a.handle("GET /locations/{location}/rooms", (*call).listRooms)
	a.handle("POST /locations/{location}/rooms", (*call).createRoom)
	a.handle("GET /locations/{location}/rooms/{room}", (*call).getRoom)
	a.handle("PUT /locations/{location}/rooms/{room}", (*call).updateRoom)
	a.handle("DELETE /locations/{location}/rooms/{room}", (*call).deleteRoom)
	a.handle("GET /locations/{location}/rooms/{room}/devices", (*call).roomDevices)

	a.handle("GET /scenes", (*call).listScenes)
	a.handle("POST /scenes", (*call).createScene)
	a.handle("GET /scenes/{scene}", (*call).getScene)
	a.handle("PUT /scenes/{scene}", (*call).updateScene)
	a.handle("DELETE /scenes/{scene}", (*call).deleteScene)
	a.handle("POST /scenes/{scene}/execute", (*call).executeScene)

	a.handle("GET /hubdevices/{device}", (*call).getHub)

	a.handle("GET /capabilities", (*call).listCapabilities)
	a.handle("POST /capabilities", (*call).createCapability)
	a.handle("GET /capabilities/namespaces", (*call).listNamespaces)
	a.handle("GET /capabilities/namespaces/{namespace}", (*call).listNamespace)
	a.handle("GET /capabilities/{capability}", (*call).getCapability)
	a.handle("GET /capabilities/{capability}/{version}", (*call).getCapability)
	a.handle("PUT /capabilities/{capability}/{version}", (*call).updateCapability)
	a.handle("DELETE /capabilities/{capability}/{version}", (*call).deleteCapability)

	for _, streams := range []string{"/subscriptions", "/sse/subscriptions"} { // the second is newer clients' path
		a.handle("GET "+streams, (*call).listStreams)
		a.handle("POST "+streams, (*call).createStream)
		a.handle("GET "+streams+"/{stream}", (*call).getStream)
		a.handle("PUT "+streams+"/{stream}", (*call).updateStream)
		a.handle("DELETE "+streams+"/{stream}", (*call).deleteStream)
	}
	a.handle("GET /filters/{stream}/activate", (*call).activate)

	a.handle("POST /hark/v1/events", (*call).bulkEvents)
	a.handle("PUT /hark/v1/devices/{device}/health", (*call).setHealth)
	a.handle("GET /hark/v1/locations/{location}/armstate", (*call).getArmState)
	a.handle("PUT /hark/v1/locations/{location}/armstate", (*call).setArmState)
	a.handle("POST /hark/v1/explain", (*call).explain)
	a.handle("POST /hark/v1/preview", (*call).preview)
	a.handle("GET /hark/v1/installedapps/{installedApp}/delivery", (*call).deliveryStatus)
	a.handle("POST /hark/v1/installedapps/{installedApp}/pause", (*call).pause)
	a.handle("POST /hark/v1/installedapps/{installedApp}/resume", (*call).resume)
	a.handle("GET /hark/v1/installedapps/{installedApp}/refused", (*call).listRefused)
	for _, refused := range []string{"/refused", "/refused/{event}"} {
		a.handle("POST /hark/v1/installedapps/{installedApp}"+refused+"/retry", (*call).retryRefused)
		a.handle("DELETE /hark/v1/installedapps/{installedApp}"+refused, (*call).forgetRefused)
	}
	a.handle("POST /hark/v1/installedapps/{installedApp}/execute", (*call).executeInstalled)
	a.handle("POST /hark/v1/apps/{app}/confirm", (*call).confirmApp)
	a.handle("GET /hark/v1/accounts", (*call).listAccounts)
	a.handle("POST /hark/v1/accounts", (*call).createAccount)
	a.handle("PUT /hark/v1/accounts/{account}/password", (*call).setPassword)
	a.handle("DELETE /hark/v1/accounts/{account}", (*call).deleteAccount)
	a.handle("GET /hark/v1/tokens", (*call).listTokens)
	a.handle("POST /hark/v1/tokens", (*call).createToken)
	a.handle("DELETE /hark/v1/tokens/{token}", (*call).revokeToken)
}
