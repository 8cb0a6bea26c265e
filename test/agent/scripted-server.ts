import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { hostStream } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import type { TestAuthority } from '#test/support/machine-authority.ts'

export type ScriptedServer = {
  readonly url: string
  /** What to do at an upgrade before it is answered. */
  onUpgrade: () => void
  /** What to answer to a frame of the host. */
  onFrame: (frame: hostStream.FrameToServer) => hostStream.FrameToAgent | undefined
  /** Sends a frame that nobody asked for to every open stream. */
  push(frame: hostStream.FrameToAgent): void
  /** What to answer to a call; 404 by itself. */
  onCall: (path: string, body: string, response: ServerResponse) => void
  /** Ends every open stream. */
  drop(): void
  close(): Promise<void>
}

/** A server that does at the machines' listener what a test says, over real TLS: for what the real one would never do. */
export async function newScriptedServer(authority: TestAuthority): Promise<ScriptedServer> {
  const server = createServer(authority.server(), (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.on('end', () => scripted.onCall(request.url ?? '', body, response))
  })
  const streams = new WebSocketServer({ noServer: true })
  const open = new Set<WebSocket>()
  server.on('upgrade', (request, socket, head) => {
    if (request.url !== HOST_STREAM_PATH) return socket.destroy()
    scripted.onUpgrade()
    streams.handleUpgrade(request, socket, head, stream => {
      open.add(stream)
      stream.on('close', () => open.delete(stream))
      stream.on('message', data => {
        const answer = scripted.onFrame(hostStream.frameToServer.parse(JSON.parse(data.toString())))
        if (answer) stream.send(JSON.stringify(answer))
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const scripted: ScriptedServer = {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    onUpgrade: () => undefined,
    onFrame: () => undefined,
    onCall: (_path, _body, response) => void response.writeHead(404).end(),
    push(frame) {
      for (const stream of open) stream.send(JSON.stringify(frame))
    },
    drop() {
      for (const stream of open) stream.close()
    },
    async close() {
      for (const stream of open) stream.terminate()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return scripted
}
