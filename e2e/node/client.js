// Calls of the unmodified official core SDK: node client.js resource method [argument...],
// each argument as JSON. Prints what the SDK returns, as JSON.
'use strict'

const {SmartThingsClient, BearerTokenAuthenticator} = require('@smartthings/core-sdk')

const url = process.env.HARK_URL
const client = new SmartThingsClient(new BearerTokenAuthenticator(process.env.HARK_TOKEN), {urlProvider: {baseURL: url, keyApiURL: url}})
const [resource, method, ...args] = process.argv.slice(2)

client[resource][method](...args.map(a => JSON.parse(a)))
	.then(result => console.log(JSON.stringify(result ?? null)))
	.catch(error => {
		console.error(error.message)
		process.exit(1)
	})
