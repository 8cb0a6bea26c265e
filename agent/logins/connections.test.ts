import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { isThere, openConnections, processesOf, readStat, readTable, signal } from './connections.ts'
import { peerKey } from './sshd-message.ts'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const row = (remote: string, state: string) =>
  `   0: 0100007F:0016 ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 55680 2 0000000000000000 21 4 13 18 -1\n`

describe('the connections of a machine', () => {
  it('are read from its tables: those that are open, by address and port', () => {
    const text = [
      HEAD,
      row('070200C0:C03A', '01'),
      row('070200C0:C03B', '08'),
      row('00000000:0000', '0A'),
      row('070200C0:C03C', '06'),
      row('B80D0120000000000000000001000000:0016', '01'),
      row('0000000000000000FFFF0000070200C0:0017', '01'),
      row('broken', '01'),
    ].join('')
    expect(readTable(text)).toEqual([
      ['192.0.2.7 49210', '55680'],
      ['192.0.2.7 49211', '55680'],
      ['2001:db8::1 22', '55680'],
      ['192.0.2.7 23', '55680'],
    ])
  })

  it.skipIf(process.platform !== 'linux')('are those that there are, until they are closed', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address !== 'object' || address === null) throw new Error('no port')
    const client = createConnection(address.port, '127.0.0.1')
    const [socket] = await once(server, 'connection')
    const peer = peerKey({ address: '127.0.0.1', port: client.localPort ?? 0 })
    expect(openConnections()?.has(peer)).toBe(true)
    // No process of sshd's holds it.
    expect(processesOf([], new Set([openConnections()?.get(peer) ?? '']))).toEqual([])
    client.destroy()
    await once(socket.resume(), 'close')
    expect(openConnections()?.has(peer)).toBe(false)
    server.close()
  })

  it('knows a process by its number and when it started, whatever it is called', () => {
    const fields = ['S', '4', ...Array.from({ length: 17 }, () => '0'), '98765', '0']
    expect(readStat(`12 (a) b (sshd) ${fields.join(' ')}\n`)).toEqual({
      ...{ pid: 12, parent: 4, started: '98765', name: 'a) b (sshd', isZombie: false },
    })
    expect(readStat('12 (sshd)')).toBeUndefined()
  })

  it.skipIf(process.platform !== 'linux')(
    'ends the process that is meant, and none that has its number by now',
    async () => {
      const child = spawn('sleep', ['600'])
      await once(child, 'spawn')
      const pid = child.pid ?? 0
      const is = { pid, parent: process.pid, started: '1', name: 'sleep', isZombie: false }
      expect(isThere(is)).toBe(false)
      signal(is, 'SIGKILL')
      expect(child.exitCode).toBeNull()
      const ended = once(child, 'exit')
      const real = readStat(readFileSync(`/proc/${pid}/stat`, 'latin1'))
      if (!real) throw new Error('no process')
      expect(isThere(real)).toBe(true)
      signal(real, 'SIGTERM')
      await ended
      expect(isThere(real)).toBe(false)
    },
  )
})
