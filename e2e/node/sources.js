// A SmartApp on the unmodified official SDK that subscribes to everything there is and sets
// timers. It prints each handler's call as a line of JSON, for the test that started it to read.
'use strict'

const express = require('express')
const SmartApp = require('@smartthings/smartapp')

const hark = process.env.HARK_URL
const say = (handler, content) => console.log(JSON.stringify({handler, ...content}))
const silent = {log() {}, error(m) { say('error', {message: String(m)}) }, warn() {}, info() {}, debug() {}, trace() {}}
const heard = handler => async (context, event, time) => say(handler, {event, time})

const app = new SmartApp({logger: silent})
	.apiUrl(hark)
	.keyApiHost(hark)
	.installed(async context => {
		const {subscriptions, schedules} = context.api
		await subscriptions.delete()
		const made = [
			...await subscriptions.subscribeToDevices(context.config.lamps, 'switch', 'switch.on', 'lampHandler', {stateChangeOnly: false}),
			await subscriptions.subscribeToCapability('contactSensor', 'contact', 'contactHandler'),
			await subscriptions.subscribeToModeChange('modeHandler'),
			await subscriptions.subscribeToDeviceLifecycle('lifecycleHandler'),
			await subscriptions.subscribeToDeviceHealth('healthHandler'),
			await subscriptions.subscribeToSecuritySystem('armHandler'),
			await subscriptions.subscribeToHubHealth('hubHandler'),
			await subscriptions.subscribeToSceneLifecycle('sceneHandler')
		]
		await schedules.delete()
		const daily = await schedules.runDaily('dailyHandler', '16:35')
		const once = await schedules.runIn('timerHandler', 1)
		say('installed', {made, listed: await subscriptions.list(), daily, once, schedules: await schedules.list()})
	})
	.updated(async () => {})
	.uninstalled(async () => say('uninstalled'))
	.subscribedDeviceEventHandler('lampHandler', heard('lampHandler'))
	.subscribedDeviceEventHandler('contactHandler', heard('contactHandler'))
	.subscribedModeEventHandler('modeHandler', heard('modeHandler'))
	.subscribedDeviceLifecycleEventHandler('lifecycleHandler', heard('lifecycleHandler'))
	.subscribedDeviceHealthEventHandler('healthHandler', heard('healthHandler'))
	.subscribedSecurityArmStateEventHandler('armHandler', heard('armHandler'))
	.subscribedHubHealthEventHandler('hubHandler', heard('hubHandler'))
	.subscribedSceneLifecycleEventHandler('sceneHandler', heard('sceneHandler'))
	.scheduledEventHandler('timerHandler', heard('timerHandler'))

const server = express()
server.use(express.json())
server.post('/', (request, response) => app.handleHttpCallback(request, response))
const listener = server.listen(0, '127.0.0.1', () => say('listening', {port: listener.address().port}))
