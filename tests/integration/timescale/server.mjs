// A TimescaleDB (WebAssembly) in memory behind the PostgreSQL protocol on a free loopback port.
// Prints one line of JSON when it listens; stops when its standard input closes.
import { PGlite } from '@electric-sql/pglite'
import { timescaledb } from '@electric-sql/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

const db = await PGlite.create({ extensions: { timescaledb } })
const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 4 })
server.addEventListener('listening', (event) => {
  console.log(JSON.stringify({ port: event.detail.port }))
})
await server.start()
process.stdin.on('close', () => process.exit(0))
process.stdin.resume()
