// A reader of an event stream on the EventSource of npm. It prints what arrives, line by line.
'use strict'

const {EventSource} = require('eventsource')

const url = process.env.HARK_URL
const headers = {Authorization: `Bearer ${process.env.HARK_TOKEN}`}
const say = (handler, content) => console.log(JSON.stringify({handler, ...content}))

const main = async () => {
	const response = await fetch(`${url}/subscriptions`, {
		method: 'POST', headers, body: JSON.stringify({name: 'e2e', subscriptionFilters: [{type: 'LOCATIONIDS', value: ['ALL'], eventType: ['DEVICE_EVENT']}]})
	})
	const {registrationUrl} = await response.json()
	const source = new EventSource(registrationUrl, {fetch: (input, init) => fetch(input, {...init, headers: {...init.headers, ...headers}})})
	source.addEventListener('CONTROL_EVENT', event => say('control', {data: event.data}))
	source.addEventListener('DEVICE_EVENT', event => say('event', {id: event.lastEventId, value: JSON.parse(event.data).deviceEvent.value}))
}

main()
