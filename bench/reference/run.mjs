// The reference PDS on loopback: PLC in memory, blobs on disk, one account. Prints one line of JSON
// {port, plcPort, did, handle, accessJwt, refreshJwt, jwtSecret, dpopSecret, adminPassword, …}, and stops when its
// input closes. The lines "stop" and "start" stop and start the PDS alone, on the same port with what is in DIRECTORY;
// each is answered with a line. With the PDS_BLOBSTORE_S3_* of its environment its blobs are there, and not on disk.
// "start {…}" changes that environment first; null takes a variable away.
//
//     node run.mjs INSTALL DIRECTORY [URL]
//
// URL is where its clients find it, if that is not itself.
// INSTALL is a folder with node_modules/@atproto/pds and node_modules/@did-plc/server in it; Node 22 or newer runs them.
// DIRECTORY is empty, and where everything is kept; whoever starts this removes it.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [install, directory] = process.argv.slice(2, 4).map((path) => resolve(path))
const publicUrl = process.argv[4]

// Both servers bind every address; there is no setting. The world is not invited to a benchmark.
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'number' ? listen.call(this, { port, host: '127.0.0.1' }) : listen.call(this, port, ...rest)
}

async function freePort() {
  const server = net.createServer()
  await new Promise((ready) => listen.call(server, { port: 0, host: '127.0.0.1' }, ready))
  const { port } = server.address()
  await new Promise((closed) => server.close(closed))
  return port
}

process.env.LOG_ENABLED ??= 'false' // read while the modules load

const modules = join(install, 'node_modules')
const pdsFolder = join(modules, '@atproto', 'pds')
const { PDS, envToCfg, envToSecrets, readEnv } = await import(pathToFileURL(join(pdsFolder, 'dist', 'index.js')))
const plcModule = createRequire(join(modules, 'any.js'))('@did-plc/server')

const plcPort = await freePort()
const plc = plcModule.PlcServer.create({ db: plcModule.Database.mock(), port: plcPort })
await plc.start()

const port = await freePort()
const jwtSecret = randomBytes(32).toString('hex')
const dpopSecret = randomBytes(32).toString('hex')
const adminPassword = randomBytes(16).toString('hex')
for (const name of ['data', 'blobs']) mkdirSync(join(directory, name), { recursive: true })
const env = () => ({
  port,
  hostname: 'localhost',
  devMode: true,
  dataDirectory: join(directory, 'data'),
  ...blobstore(),
  blobUploadLimit: Number(process.env.BLOB_UPLOAD_LIMIT || 5 * 1024 * 1024),
  didPlcUrl: `http://localhost:${plcPort}`,
  serviceHandleDomains: ['.test'],
  inviteRequired: false,
  rateLimitsEnabled: false, // else 1000 uploads a day
  maxSubscriptionBuffer: Number(process.env.MAX_SUBSCRIPTION_BUFFER || 500),
  repoBackfillLimitMs: Number(process.env.REPO_BACKFILL_LIMIT_MS || 86400000),
  adminPassword,
  jwtSecret,
  dpopSecret,
  plcRotationKeyK256PrivateKeyHex: '11'.repeat(32),
  crawlers: [],
})
function blobstore() {
  const s3 = Object.entries(readEnv()).filter(([name, value]) => name.startsWith('blobstoreS3') && value !== undefined)
  return s3.length ? Object.fromEntries(s3) : { blobstoreDiskLocation: join(directory, 'blobs') }
}
let pds
async function start() {
  const config = envToCfg(env())
  if (publicUrl) {
    config.service.publicUrl = publicUrl
    config.oauth.issuer = publicUrl
  }
  pds = await PDS.create(config, envToSecrets(env()))
  await pds.start()
}
await start()

const answer = await fetch(`http://127.0.0.1:${port}/xrpc/com.atproto.server.createAccount`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ handle: 'bench.test', email: 'bench@example.com', password: 'bench-password' }),
})
const account = await answer.json()
if (!answer.ok) throw new Error(`createAccount: ${answer.status} ${JSON.stringify(account)}`)
const { did, handle, accessJwt, refreshJwt } = account
const { version } = JSON.parse(readFileSync(join(pdsFolder, 'package.json')))
console.log(
  JSON.stringify({
    ...{ port, plcPort, did, handle, accessJwt, refreshJwt, jwtSecret, dpopSecret, adminPassword, directory, version },
  }),
)

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'stop') {
    await pds.destroy()
    pds = undefined
  } else if (line.startsWith('start')) {
    for (const [name, value] of Object.entries(JSON.parse(line.slice(5) || '{}'))) {
      if (value === null) delete process.env[name]
      else process.env[name] = value
    }
    await start()
  }
  console.log(line)
}
await pds?.destroy()
await plc.destroy()
process.exit(0)
