// What an application does with npm's @atproto/api where a PDS and this service share an address. Prints what came of it as
// JSON.
//
//     node beside_agent.mjs INSTALL URL HANDLE PASSWORD PHOTO

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [install, service, identifier, password, photo] = process.argv.slice(2)
const api = createRequire(join(resolve(install), 'any.js')).resolve('@atproto/api')
const { AtpAgent } = await import(pathToFileURL(api))

const bytes = await readFile(photo)
const agent = new AtpAgent({ service })
await agent.login({ identifier, password })
const uploaded = await agent.uploadBlob(bytes, { encoding: 'image/jpeg' })
await agent.sessionManager.refreshSession()
const again = await agent.uploadBlob(bytes, { encoding: 'image/jpeg' })
const listed = await agent.com.atproto.sync.listBlobs({ did: agent.did })
const cid = uploaded.data.blob.ref.toString()
const own = await agent.com.atproto.sync.getBlob({ did: agent.did, cid })
const described = await agent.com.atproto.repo.describeRepo({ repo: identifier })

// A service token, as another PDS asks for one when an account moves there.
const { data } = await agent.com.atproto.server.getServiceAuth({ aud: 'did:web:localhost', lxm: 'com.atproto.repo.uploadBlob' })
const byService = async (token) => {
  const answer = await fetch(`${service}/xrpc/com.atproto.repo.uploadBlob`, {
    method: 'POST',
    body: bytes,
    headers: { 'content-type': 'image/jpeg', authorization: `Bearer ${token}` },
  })
  return [answer.status, (await answer.json()).message]
}

console.log(
  JSON.stringify({
    did: agent.did,
    cids: [cid, again.data.blob.ref.toString()],
    listed: listed.data.cids,
    equal: Buffer.from(own.data).equals(bytes),
    handle: described.data.handle,
    serviceTokens: [await byService(data.token), await byService(data.token)],
    refreshToken: await byService(agent.session.refreshJwt),
  }),
)
