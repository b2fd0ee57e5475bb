// A SmartApp on the unmodified official SDK with several configuration pages and every type of
// setting. It prints each handler's call as a line of JSON, for the test that started it to read.
'use strict'

const express = require('express')
const SmartApp = require('@smartthings/smartapp')

const hark = process.env.HARK_URL
const picture = 'data:image/svg+xml,%3Csvg xmlns="http://www.w3.org/2000/svg" width="40" height="40"%3E%3Ccircle cx="20" cy="20" r="18" fill="%231b5fc1"/%3E%3C/svg%3E'
const say = (handler, content) => console.log(JSON.stringify({handler, ...content}))
const silent = {log() {}, error(m) { say('error', {message: String(m)}) }, warn() {}, info() {}, debug() {}, trace() {}}
const titled = (setting, name, description = '') => setting.name(name).description(description)

const app = new SmartApp({logger: silent})
	.apiUrl(hark)
	.keyApiHost(hark)
	.permissions(['r:devices:*', 'x:devices:*', 'r:locations:*'])
	.appId('every-setting')
	.page('welcome', (context, page) => {
		page.name('Welcome to Night Watch').style('SPLASH').nextText('Let us begin').nextPageId('devices')
		page.section('What it does', section => {
			titled(section.paragraphSetting('what'), 'Watches your doors at night', 'and turns a lamp on when one opens').image(picture)
			titled(section.imageSetting('logo'), 'Its logo').image(picture)
			titled(section.imagesSetting('gallery'), 'At work').images([picture, picture])
			titled(section.videoSetting('film'), 'A short film').video('https://night-watch.example/film.mp4').image(picture)
			titled(section.linkSetting('manual'), 'The manual', 'opens in a window of its own').url('https://night-watch.example/manual')
			titled(section.oauthSetting('account'), 'Connect your account').urlTemplate('https://night-watch.example/login?back=__SmartThingsOAuthCallback__')
		})
	})
	.page('devices', (context, page) => {
		page.name('What to watch, what to light').previousPageId('welcome').nextPageId('values')
		page.section('Devices', section => {
			titled(section.deviceSetting('doors'), 'Doors and windows', 'Every one that can open').capabilities(['contactSensor']).multiple(true).required(true).permissions('r')
			titled(section.deviceSetting('lamp'), 'Lamp').capabilities(['switch', 'switchLevel']).required(true).permissions('rx')
		})
		page.section('When', section => {
			titled(section.modeSetting('modes'), 'Only in these modes').multiple(true)
			titled(section.sceneSetting('scene'), 'Scene to execute')
			titled(section.timeSetting('from'), 'From')
			section.hideable(true)
		})
	})
	.page('values', (context, page, {isResubmit}) => {
		page.name('Details').previousPageId('devices').complete(true)
		page.section('Words and numbers', section => {
			titled(section.textSetting('greeting'), 'Greeting').minLength(2).maxLength(20).required(true).defaultValue('Hello')
			titled(section.passwordSetting('secret'), 'Alarm code').minLength(4)
			titled(section.numberSetting('level'), 'Brightness').min(1).max(100).step(1).required(true)
			titled(section.decimalSetting('factor'), 'Factor').min(0).max(2)
			titled(section.booleanSetting('loud'), 'Loud').submitOnChange(true)
			titled(section.phoneSetting('phone'), 'Phone')
			titled(section.emailSetting('mail'), 'E-mail')
		})
		page.section('Choices', section => {
			titled(section.enumSetting('colour'), 'Colour').options([{id: 'red', name: 'Red'}, {id: 'blue', name: 'Blue'}]).required(true)
			titled(section.enumSetting('days'), 'Days').multiple(true).groupedOptions([{name: 'Week', options: [{id: 'mon', name: 'Monday'}]}, {name: 'Weekend', options: [{id: 'sun', name: 'Sunday'}]}])
			titled(section.securitySetting('armed'), 'When armed')
			titled(section.soundSetting('sound'), 'Sound').options([{id: 'bell', name: 'Bell', sound: 'https://night-watch.example/bell.mp3'}])
			titled(section.messageGroupSetting('message'), 'Message')._options = [{id: 'open', name: 'A door is open'}] // the SDK sends options, but has no way to set them
			if (context.configBooleanValue('loud')) {
				titled(section.paragraphSetting('warning'), 'It will be loud', isResubmit ? 'asked again' : 'asked anew')
			}
			titled(section.pageSetting('more'), 'More').page('extra')
		})
	})
	.page('extra', (context, page) => {
		page.name('Extra').previousPageId('values').complete(true)
		page.section('', section => titled(section.textSetting('note'), 'Note'))
	})
	.installed(async (context, data) => say('installed', {config: context.config, permissions: data.installedApp.permissions, locationId: context.locationId}))
	.updated(async (context, data) => say('updated', {config: context.config, previousConfig: data.previousConfig}))
	.uninstalled(async () => say('uninstalled'))
	.oauthHandler(async (context, data) => say('oauth', {data}))
	.executeHandler(async (context, data) => { say('execute', {parameters: data.parameters}); return {heard: data.parameters} })

const server = express()
server.use(express.json())
server.post('/', (request, response) => app.handleHttpCallback(request, response))
const listener = server.listen(0, '127.0.0.1', () => say('listening', {port: listener.address().port}))
