// A SmartApp on the official SDK: a lamp is on while a door is open. Nothing in it knows of
// hark but the two URLs.
'use strict'

const express = require('express')
const SmartApp = require('@smartthings/smartapp')

const server = process.env.HARK_URL || 'http://127.0.0.1:8080'
const port = Number(process.env.PORT || 9001)

const app = new SmartApp()
	.apiUrl(server)
	.keyApiHost(server)
	.permissions(['r:devices:*', 'x:devices:*'])
	.updated(async context => {
		await context.api.subscriptions.delete()
		await context.api.subscriptions.subscribeToDevices(context.config.door, 'contactSensor', 'contact', 'doorHandler')
		console.log('subscribed to the door')
	})
	.subscribedEventHandler('doorHandler', async (context, event) => {
		const command = event.value === 'open' ? 'on' : 'off'
		console.log(`the door is ${event.value}: lamp ${command}`)
		await context.api.devices.sendCommands(context.config.lamp, 'switch', command)
	})

express()
	.use(express.json())
	.post('/', (request, response) => app.handleHttpCallback(request, response))
	.listen(port, '127.0.0.1', () => console.log(`smartapp: listening on 127.0.0.1:${port}`))
