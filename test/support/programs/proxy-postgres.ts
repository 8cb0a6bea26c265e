import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

const NOTIFICATION = 0x41

/** Passes PostgreSQL's messages on; notifications only where it is told to. What LISTEN is answered passes, as with a pooler. */
export async function proxyPostgres(
  to: number,
  passesNotifications: boolean,
): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const database = connect(to, '127.0.0.1')
    for (const [one, other] of [
      [client, database],
      [database, client],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
    let asksForTls = false
    client.on('data', (bytes: Buffer) => {
      // SSLRequest: it is answered by one bare letter.
      asksForTls ||= bytes.length === 8 && bytes.readUInt32BE(4) === 80_877_103
      database.write(bytes)
    })
    let held = Buffer.alloc(0)
    database.on('data', (bytes: Buffer) => {
      held = Buffer.concat([held, bytes])
      if (asksForTls) {
        asksForTls = false
        client.write(held.subarray(0, 1))
        held = held.subarray(1)
      }
      // A letter, then a length that counts itself.
      while (held.length >= 5 && held.length >= 1 + held.readUInt32BE(1)) {
        const message = held.subarray(0, 1 + held.readUInt32BE(1))
        held = held.subarray(message.length)
        if (passesNotifications || message[0] !== NOTIFICATION) client.write(message)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
