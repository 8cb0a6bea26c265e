import WebSocket from 'ws'
import { hostStream } from '#shared/api/index.ts'
import { HOST_STREAM_PATH, MAX_FRAME_BYTES } from '#shared/api/resources/host-stream.ts'
import { KeymanError } from '#shared/errors.ts'
import { agentFor, type Connection, notKnown, tlsOptions, unreached } from './call.ts'

export type Stream = {
  send(frame: hostStream.FrameToServer): void
  close(): void
  /** Resolves when the stream has ended, with why. */
  readonly ended: Promise<string>
}

/** The server pings each 30 s: what has been silent for longer than two of these is dead. */
const SILENCE_MS = 75_000

/**
 * Opens the stream of desired state. `onFrame` gets frames that fit the schema; one that doesn't ends the stream. Throws
 * `unavailable` where no server is reached, `denied` where it takes this host for nobody.
 */
export function openStream(connection: Connection, onFrame: (frame: hostStream.FrameToAgent) => void): Promise<Stream> {
  const url = new URL(HOST_STREAM_PATH, connection.url)
  url.protocol = 'wss:'
  const socket = new WebSocket(url, {
    ...tlsOptions(connection),
    agent: agentFor(connection),
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handshakeTimeout: 15_000,
    followRedirects: false,
  })
  return new Promise((resolve, reject) => {
    let silence: NodeJS.Timeout | undefined
    let why = 'the connection was lost'
    const heard = () => {
      clearTimeout(silence)
      silence = setTimeout(() => {
        why = 'the server is silent'
        socket.terminate()
      }, SILENCE_MS)
    }
    const end = Promise.withResolvers<string>()
    socket.on('open', () => {
      heard()
      resolve({
        send: frame => socket.send(JSON.stringify(frame)),
        close: () => socket.close(1000),
        ended: end.promise,
      })
    })
    socket.on('ping', heard)
    socket.on('message', (data, binary) => {
      heard()
      const frame = binary ? undefined : parseFrame(data.toString())
      if (frame) onFrame(frame)
      else {
        why = 'the server sent a frame that this agent does not understand'
        socket.close(1008)
      }
    })
    socket.on('unexpected-response', (request, response) => {
      const status = response.statusCode ?? 0
      request.destroy()
      reject(
        status === 401 || status === 403
          ? notKnown(status)
          : new KeymanError('unavailable', `${connection.url} answered ${status}`),
      )
    })
    socket.on('error', error => {
      const refused = unreached(connection, error)
      why = refused.message
      reject(refused)
    })
    socket.on('close', (code, reason) => {
      clearTimeout(silence)
      const said = reason.toString()
      end.resolve(said === '' ? `${why} (${code})` : `the server closed: ${said}`)
    })
  })
}

function parseFrame(text: string): hostStream.FrameToAgent | undefined {
  try {
    return hostStream.frameToAgent.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
