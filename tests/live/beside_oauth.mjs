// What a web application does with npm's @atproto/oauth-client-node, and what its user does in the browser: sign in, consent,
// and come back with a code. Then a photo is uploaded. Prints what came of it as JSON.
//
//     node beside_oauth.mjs INSTALL URL PLC HANDLE PASSWORD SCOPE PHOTO
//
// INSTALL is a folder with node_modules/@atproto/oauth-client-node in it, URL is where a PDS answers.

import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [install, service, plc, handle, password, scope, photo] = process.argv.slice(2)
const path = createRequire(join(resolve(install), 'any.js')).resolve('@atproto/oauth-client-node')
const { NodeOAuthClient } = await import(pathToFileURL(path))

function memory() {
  const map = new Map()
  return { get: async (key) => map.get(key), set: async (key, value) => void map.set(key, value), del: async (key) => void map.delete(key) }
}

const redirect = 'http://127.0.0.1:9/callback'
const client = new NodeOAuthClient({
  clientMetadata: {
    client_id: `http://localhost?${new URLSearchParams({ redirect_uri: redirect, scope })}`,
    redirect_uris: [redirect],
    scope,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
  },
  stateStore: memory(),
  sessionStore: memory(),
  requestLock: (_name, work) => work(),
  handleResolver: service,
  plcDirectoryUrl: plc,
  allowHttp: true,
})

// The browser: cookies, the page, and the two buttons on it. Not fetch, which has its own idea of the sec-fetch headers.
const jar = new Map()
function browse(url, { method = 'GET', headers, body }) {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
  return new Promise((done, failed) => {
    const sent = request(url, { method, headers: { ...headers, cookie } }, async (answer) => {
      for (const line of answer.headers['set-cookie'] ?? []) {
        const [name, value] = line.split(';')[0].split('=')
        jar.set(name, value)
      }
      let text = ''
      for await (const chunk of answer) text += chunk
      answer.statusCode < 400 ? done(text) : failed(new Error(`${url}: ${answer.statusCode} ${text.slice(0, 500)}`))
    })
    sent.on('error', failed)
    sent.end(body)
  })
}
async function press(button, page, input) {
  const headers = {
    'content-type': 'application/json',
    'sec-fetch-mode': 'same-origin',
    'sec-fetch-site': 'same-origin',
    origin: service,
    referer: page,
    'x-csrf-token': jar.get('csrf-token'),
  }
  const url = `${service}/@atproto/oauth-provider/~api/${button}`
  return JSON.parse(await browse(url, { method: 'POST', headers, body: JSON.stringify(input) }))
}

const navigate = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' }
const page = (await client.authorize(service, { scope })).href
await browse(page, { headers: navigate })
const { account } = await press('sign-in', page, { username: handle, password, locale: 'en', remember: true })
const { url } = await press('consent', page, { did: account.did })
const { session } = await client.callback(new URL(url).searchParams)

const bytes = await readFile(photo)
async function upload(type) {
  const answer = await session.fetchHandler('/xrpc/com.atproto.repo.uploadBlob', { method: 'POST', body: bytes, headers: { 'content-type': type } })
  return [answer.status, await answer.json()]
}
const uploads = [await upload('image/jpeg'), await upload('image/jpeg')]
const missing = await session.fetchHandler('/xrpc/com.atproto.repo.listMissingBlobs')
const atPds = await session.fetchHandler('/xrpc/com.atproto.server.getSession')

console.log(JSON.stringify({ did: session.did, uploads, missing: [missing.status, await missing.json()], atPds: atPds.status }))
