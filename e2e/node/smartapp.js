// A SmartApp on the unmodified official SDK. It prints each handler's call as a line of JSON,
// for the test that started it to read.
'use strict'

const express = require('express')
const SmartApp = require('@smartthings/smartapp')

const hark = process.env.HARK_URL
const say = (handler, content) => console.log(JSON.stringify({handler, ...content}))
const silent = {log() {}, error(m) { say('error', {message: String(m)}) }, warn() {}, info() {}, debug() {}, trace() {}}

const subscribe = async context => {
	await context.api.subscriptions.delete()
	await context.api.subscriptions.subscribeToDevices(context.config.contacts, 'contactSensor', 'contact', 'contactHandler')
	await context.api.subscriptions.subscribeToCapability('switch', 'switch', 'switchHandler')
	return context.api.subscriptions.list()
}

const app = new SmartApp({logger: silent})
	.apiUrl(hark)
	.keyApiHost(hark)
	.permissions(['r:devices:*', 'x:devices:*', 'r:locations:*'])
	.installed(async (context, data) => {
		const subscriptions = await subscribe(context)
		say('installed', {installedAppId: context.installedAppId, locationId: context.locationId, authToken: data.authToken, subscriptions})
	})
	.updated(async (context, data) => {
		const subscriptions = await subscribe(context)
		say('updated', {config: context.config, previousConfig: data.previousConfig, previousPermissions: data.previousPermissions, subscriptions})
	})
	.uninstalled(async (context, data) => say('uninstalled', {installedAppId: data.installedApp.installedAppId}))
	.subscribedEventHandler('contactHandler', async (context, event, time) => {
		// The token that came with the event is good for calls to the API.
		const status = await context.api.devices.getCapabilityStatus(event.deviceId, 'main', 'contactSensor')
		say('contactHandler', {event, time, status})
	})
	.subscribedEventHandler('switchHandler', async (context, event, time) => {
		say('switchHandler', {event, time})
	})

const server = express()
server.use(express.json())
server.post('/', (request, response) => app.handleHttpCallback(request, response))
const listener = server.listen(0, '127.0.0.1', () => say('listening', {port: listener.address().port}))
