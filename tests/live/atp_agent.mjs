// What an application does with npm's @atproto/api. Prints what came of it as JSON.
//
//     node atp_agent.mjs INSTALL URL HANDLE PASSWORD PHOTO
//
// INSTALL is a folder with node_modules/@atproto/api in it.

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [install, service, handle, password, photo] = process.argv.slice(2)
const api = createRequire(join(resolve(install), 'any.js')).resolve('@atproto/api')
const { AtpAgent } = await import(pathToFileURL(api))

const bytes = await readFile(photo)
const agent = new AtpAgent({ service })

await agent.createAccount({ handle, email: `${handle}@example.com`, password })
const created = agent.session.did
await agent.logout()

await agent.login({ identifier: handle, password })
const uploaded = await agent.uploadBlob(bytes, { encoding: 'image/jpeg' })
const untyped = await agent.uploadBlob(bytes)
const streamed = await agent.uploadBlob(new Blob([bytes]).stream(), { encoding: 'image/jpeg' })
const post = await agent.post({
  text: 'a photo',
  embed: { $type: 'app.bsky.embed.images', images: [{ alt: 'a photo', image: uploaded.data.blob }] },
})
await agent.upsertProfile((profile) => ({ ...profile, displayName: 'Node', avatar: uploaded.data.blob }))
await agent.sessionManager.refreshSession()

const cid = uploaded.data.blob.ref.toString()
const fetched = await agent.com.atproto.sync.getBlob({ did: agent.did, cid })
const listed = await agent.com.atproto.sync.listBlobs({ did: agent.did })
const profile = await agent.getProfile({ actor: handle })
const avatar = await fetch(profile.data.avatar)
const status = await agent.com.atproto.server.checkAccountStatus()
const described = await agent.com.atproto.server.describeServer()
const rkey = post.uri.split('/').at(-1)
const record = await agent.com.atproto.repo.getRecord({ repo: handle, collection: 'app.bsky.feed.post', rkey })
await agent.deletePost(post.uri)
await agent.upsertProfile((profile) => ({ displayName: profile.displayName }))
const after = await agent.com.atproto.sync.getBlob({ did: agent.did, cid: 'x' + cid }).catch((error) => error)
const wrong = await new AtpAgent({ service }).login({ identifier: handle, password: 'no' }).catch((error) => error)

console.log(
  JSON.stringify({
    dids: [created, agent.did],
    pdsUrl: agent.pdsUrl.href,
    cids: [uploaded, untyped, streamed].map((upload) => upload.data.blob.ref.toString()),
    mimeTypes: [uploaded, untyped, streamed].map((upload) => upload.data.blob.mimeType),
    equal: Buffer.from(fetched.data).equals(bytes),
    type: fetched.headers['content-type'],
    avatarEqual: Buffer.from(await avatar.arrayBuffer()).equals(bytes),
    listed: listed.data.cids,
    recordCid: record.data.value.embed.images[0].image.ref.toString(),
    displayName: profile.data.displayName,
    counts: [status.data.expectedBlobs, status.data.importedBlobs, status.data.indexedRecords],
    states: [status.data.activated, status.data.validDid],
    limit: described.data.blobUploadLimit,
    refusals: [after, wrong].map(({ status, error }) => [status, error]),
  }),
)
