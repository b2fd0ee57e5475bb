// An API-access app on the unmodified official SDK: its user connects it in a browser, it redeems
// the code, subscribes, hears events and refreshes its tokens. It prints what happens as lines of
// JSON, for the test that started it to read, and takes its client from HARK_CLIENT later.
'use strict'

const express = require('express')
const SmartApp = require('@smartthings/smartapp')

const hark = process.env.HARK_URL
const say = (handler, content) => console.log(JSON.stringify({handler, ...content}))
const silent = {log() {}, error(m) { say('error', {message: String(m)}) }, warn() {}, info() {}, debug() {}, trace() {}}
const stored = new Map()
const store = {
	async get(id) { return stored.get(id) },
	async put(record) { stored.set(record.installedAppId, record); return record },
	async update(id, record) { stored.set(id, {...stored.get(id), ...record}) },
	async delete(id) { stored.delete(id); say('forgotten', {id}) }
}

const server = express()
const listener = server.listen(0, '127.0.0.1', () => {
	const own = `http://127.0.0.1:${listener.address().port}`
	const app = new SmartApp({logger: silent, redirectUri: own + '/oauth/callback'})
		.apiUrl(hark)
		.refreshUrl(hark + '/oauth/token')
		.keyApiHost(hark)
		.contextStore(store)
		.permissions(['r:devices:*', 'x:devices:*', 'r:locations:*'])
		.subscribedDeviceEventHandler('switchHandler', async (context, event) => {
			const own = await app.withContext(context.installedAppId) // such events bring no token
			const status = await own.api.devices.getCapabilityStatus(event.deviceId, 'main', 'switch')
			say('switchHandler', {event, status})
		})
		.uninstalled(async context => say('uninstalled', {installedAppId: context.installedAppId}))
	server.use(express.json())
	server.post('/', (request, response) => app.handleHttpCallback(request, response))
	server.get('/client', (request, response) => { // the test registers the app once it knows where it is
		app.clientId(request.query.id).clientSecret(request.query.secret)
		response.send('ok')
	})
	server.get('/oauth/callback', async (request, response) => {
		try {
			const context = await app.handleOAuthCallback(request)
			const location = await context.api.locations.get(context.locationId)
			await context.api.subscriptions.delete()
			await context.api.subscriptions.subscribeToCapability('switch', 'switch', 'switchHandler')
			const switches = await context.api.devices.list({capability: 'switch'})
			say('connected', {installedAppId: context.installedAppId, location: location.name, state: request.query.state, switches: switches.length})
			response.send('<h2>Connected</h2>')
		} catch (error) {
			say('error', {message: error.message})
			response.status(500).send(error.message)
		}
	})
	server.get('/refresh', async (request, response) => { // as if the access token had expired
		const id = request.query.id
		const before = stored.get(id)
		await store.update(id, {authToken: '00000000-0000-4000-8000-000000000000'})
		const context = await app.withContext(id)
		const list = await context.api.subscriptions.list()
		const after = stored.get(id)
		say('refreshed', {subscriptions: list.length, access: after.authToken !== before.authToken && !after.authToken.startsWith('0000'), refresh: after.refreshToken !== before.refreshToken})
		response.send('ok')
	})
	server.get('/leave', async (request, response) => {
		const context = await app.withContext(request.query.id)
		await context.api.installedApps.delete()
		response.send('ok')
	})
	say('listening', {url: own})
})
