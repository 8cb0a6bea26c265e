import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import WebSocket from 'ws'
import { call, tlsOptions } from '#agent/server/call.ts'
import { loadIdentity, makeClientKey } from '#agent/server/client-identity.ts'
import { openStream } from '#agent/server/stream.ts'
import { fetchTrust, machineRoots } from '#agent/server/trust.ts'
import { prove, readHostKey } from '#agent/sshd/host-keys.ts'
import { loadMemory } from '#agent/state/memory.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { toBase64 } from '#shared/bytes.ts'
import { formatJoinToken, parseJoinToken } from '#shared/join-token.ts'
import { parseHostName } from '#shared/names.ts'
import { parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { newSshd, type TestSshd } from '#test/support/programs/sshd.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'

const NAME = parseHostName('web1.keyman.localhost', 'name')
const ALIAS = parseHostName('www.keyman.localhost', 'name')

describe.skipIf(!requires('sshd'))('a host that joins and stays', () => {
  let server: HostsServer
  let sshd: TestSshd
  let stateFolder: string
  let agent: ChildProcess | undefined

  const newHost = (name: string) => ({
    name: parseHostName(name, 'name'),
    labels: { env: 'test' },
    port: 22,
    tokenLifetime: 600,
  })
  const machine = () => [
    ...['--state-folder', stateFolder, '--sshd', pathOf('sshd'), '--sshd-config', sshd.configFile],
    ...['--sshd-folder', join(sshd.folder, 'sshd'), '--host-key', `${sshd.hostKey}.pub`, '--pid-file', sshd.pidFile],
  ]
  const runAgent = (args: readonly string[], input = '') =>
    new Promise<{ code: number | null; out: string; err: string }>(resolve => {
      const child = spawn(process.execPath, [AGENT, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
      let out = ''
      let err = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text
      })
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        err += text
      })
      child.once('close', code => resolve({ code, out, err }))
      child.stdin.on('error', () => undefined).end(input)
    })
  const startAgent = () => {
    agent = spawn(process.execPath, [AGENT, 'run', '--state-folder', stateFolder], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  const stopAgent = async () => {
    if (agent?.exitCode === null && agent.signalCode === null) {
      agent.kill('SIGTERM')
      await once(agent, 'exit')
    }
  }
  const view = () => server.services.hosts.show(NAME)
  const connected = () => expect.poll(async () => (await view()).state, { timeout: 15_000 }).toBe('connected')

  beforeAll(async () => {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    stateFolder = join(sshd.folder, 'state')
    server = await startHostsServer()
  })
  afterAll(async () => {
    await stopAgent()
    await server?.close()
    await sshd?.close()
  })

  /** What a joiner sends, with the parts that a test makes wrong. */
  const joinBody = async (secret: string, purpose: 'join' | 'host-key' = 'join') => {
    const connection = await trusted()
    const client = makeClientKey()
    const hostKey = readHostKey(`${sshd.hostKey}.pub`)
    const { challenge } = await call(connection, api.login.challenge, {})
    const proof = await prove({ sshKeygen: '/usr/bin/ssh-keygen' }, hostKey, client, purpose, challenge)
    return { token: secret, clientPublicKey: toBase64(client.spki), sshPublicKey: hostKey.line, proof }
  }
  const trusted = async () => {
    const { bundle } = await fetchTrust(server.url, { fingerprint: server.services.trust.rootFingerprint() })
    return { url: server.url, roots: machineRoots(bundle) }
  }

  it('is named once: a living name is never given to a second, nor one outside the suffixes', async () => {
    const { command, token } = await server.services.hosts.add(newHost(NAME), server.by())
    expect(command).toBe('keyman-agent join --token-file -')
    expect(parseJoinToken(token)).toMatchObject({ name: NAME, url: server.url })
    await expect(server.services.hosts.add(newHost(NAME), server.by())).rejects.toThrow(/there is a host .* already/)
    await expect(server.services.hosts.add(newHost('web1.example.org'), server.by())).rejects.toThrow(/host suffix/)
    await server.services.hosts.remove(NAME, server.by())
  })

  it('has its names for itself: no alias is the name or alias of another, nor outside the suffixes, nor there twice', async () => {
    const { hosts } = server.services
    const add = (name: string, ...aliases: string[]) =>
      hosts.add({ ...newHost(name), aliases: aliases.map(alias => parseHostName(alias, 'alias')) }, server.by())
    await add('a.keyman.localhost', 'b.keyman.localhost')
    for (const [name, alias, refusal] of [
      ['b.keyman.localhost', undefined, /b\.keyman\.localhost is an alias of the host a\.keyman\.localhost already/],
      ['c.keyman.localhost', 'b.keyman.localhost', /is an alias of the host a\.keyman\.localhost already/],
      ['c.keyman.localhost', 'a.keyman.localhost', /there is a host a\.keyman\.localhost already/],
      ['c.keyman.localhost', 'c.example.org', /host suffix/],
      ['c.keyman.localhost', 'c.keyman.localhost', /stands there twice/],
    ] as const)
      await expect(add(name, ...(alias ? [alias] : [])), name).rejects.toThrow(refusal)
    await hosts.remove(parseHostName('a.keyman.localhost', 'name'), server.by())
    const { host } = await add('c.keyman.localhost', 'b.keyman.localhost')
    expect(host.aliases).toEqual(['b.keyman.localhost'])
    await hosts.remove(parseHostName('c.keyman.localhost', 'name'), server.by())
    const races = await Promise.allSettled([add('d.keyman.localhost', 'e.keyman.localhost'), add('e.keyman.localhost')])
    expect(races.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  it('believes no server whose root of trust is another than the token names', async () => {
    const { token } = await server.services.hosts.add(newHost('pinned.keyman.localhost'), server.by())
    const wrong = { ...parseJoinToken(token), fingerprint: `SHA256:${'A'.repeat(43)}` }
    const refused = await runAgent(['join', '--token-file', '-', ...machine()], formatJoinToken(wrong))
    expect(refused.code).toBe(4)
    expect(refused.err).toContain('root of trust')
    expect((await server.services.hosts.show(parseHostName('pinned.keyman.localhost', 'name'))).state).toBe('invited')
  })

  it('joins by its token on standard input, and has its first state in force', async () => {
    const { token } = await server.services.hosts.add({ ...newHost(NAME), aliases: [ALIAS] }, server.by())
    const joined = await runAgent(['join', '--token-file', '-', ...machine()], `${token}\n`)
    expect(joined.err).not.toContain('error')
    expect(joined.code).toBe(0)
    expect(joined.out).toContain(`This host is ${NAME} of acme`)
    expect(await view()).toMatchObject({ revision: 1, inForce: 1 })
    // The same token again, by hand and by the program.
    const again = await runAgent(['join', '--again', '--token-file', '-', ...machine()], token)
    expect(again.code).toBe(1)
    expect(again.err).toContain('ended or was used already')
  })

  it('has a host certificate for its exact name, and the aliases that an administrator listed, by the host authority', () => {
    const line = readFileSync(join(sshd.folder, 'sshd', 'ssh_host_ed25519_key-cert.pub'), 'utf8').trim()
    const certificate = parseCertificate(line)
    expect(certificate).toMatchObject({ kind: 'host', principals: [NAME, ALIAS] })
    expect(certificate.extensions).toEqual([])
  })

  it('stays connected, and a revocation is in force on it before the answer', async () => {
    // The second join that was refused has changed nothing.
    await sshd.start()
    startAgent()
    await connected()
    const before = await view()
    expect(before).toMatchObject({
      agent: expect.stringMatching(/^keyman-agent /),
      sshd: expect.stringMatching(/^OpenSSH_/),
    })
    const { krlVersion } = await server.services.authority.revoke(
      { publicKey: parsePublicKey(newKey().line) },
      'test',
      server.by(),
    )
    const hosts = await server.services.hosts.waitForKrl(krlVersion, 10)
    expect(hosts).toMatchObject([{ name: NAME, state: 'in-force', revision: before.revision + 1 }])
    expect(loadMemory(stateFolder).krlVersion).toBe(String(krlVersion))
  })

  it('remembers the log, and each newer tree head extends the one before', async () => {
    const { checkpoint } = loadMemory(stateFolder)
    expect(checkpoint).toContain('acme/keyman-log')
  })

  it('is away while it is not connected; a revocation does not wait for it; it catches up by itself', async () => {
    await stopAgent()
    await expect.poll(async () => (await view()).state, { timeout: 10_000 }).toBe('away')
    const { krlVersion } = await server.services.authority.revoke(
      { publicKey: parsePublicKey(newKey().line) },
      'test',
      server.by(),
    )
    expect(await server.services.hosts.waitForKrl(krlVersion, 10)).toMatchObject([{ state: 'away' }])
    startAgent()
    await expect
      .poll(async () => (await server.services.hosts.waitForKrl(krlVersion, 0))[0]?.state, { timeout: 15_000 })
      .toBe('in-force')
  })

  it('keeps what it has while the server is away, and comes back', async () => {
    const file = join(sshd.folder, 'sshd', 'revoked.krl')
    const before = readFileSync(file)
    await server.unplug()
    await expect.poll(async () => (await view()).state, { timeout: 10_000 }).toBe('away')
    expect(readFileSync(file).equals(before)).toBe(true)
    await server.plug()
    await connected()
  })

  it('writes its files again when somebody has changed them and the agent is started anew', async () => {
    await stopAgent()
    const file = join(sshd.folder, 'sshd', 'user_ca.pub')
    const before = readFileSync(file, 'utf8')
    writeFileSync(file, `${before}${newKey().line}\n`)
    startAgent()
    await expect.poll(() => readFileSync(file, 'utf8'), { timeout: 15_000 }).toBe(before)
  })

  it('is told by doctor that all is well', async () => {
    const doctor = await runAgent(['doctor', '--state-folder', stateFolder])
    expect(doctor.out).not.toContain('found')
    expect(doctor.code).toBe(0)
  })

  it('refuses a token that was never given, a proof for another purpose, and a joiner that chooses name or labels', async () => {
    const name = parseHostName('web2.keyman.localhost', 'name')
    const { token } = await server.services.hosts.add(newHost(name), server.by())
    const { secret } = parseJoinToken(token)
    const connection = await trusted()
    const post = (body: Awaited<ReturnType<typeof joinBody>>) => call(connection, api.hostSelf.join, { body })
    await expect(post(await joinBody('A'.repeat(43)))).rejects.toThrow(/not known/)
    await expect(post(await joinBody(secret, 'host-key'))).rejects.toMatchObject({ code: 'denied' })
    const choosing = { ...(await joinBody(secret)), name: 'db1.keyman.localhost', labels: { env: 'prod' } }
    await expect(post(choosing)).rejects.toMatchObject({ code: 'invalid-input' })
    const swapped = { ...(await joinBody(secret)), clientPublicKey: toBase64(makeClientKey().spki) }
    await expect(post(swapped)).rejects.toMatchObject({ code: 'denied' })
    // None of these has used the token up.
    const good = await joinBody(secret)
    expect(await post(good)).toMatchObject({ host: name })
    await expect(post(good)).rejects.toMatchObject({ code: 'expired' })
    await server.services.hosts.remove(name, server.by())
  })

  it('refuses a token that has ended', async () => {
    const name = parseHostName('late.keyman.localhost', 'name')
    const { token } = await server.services.hosts.add(newHost(name), server.by())
    const post = async () =>
      call(await trusted(), api.hostSelf.join, { body: await joinBody(parseJoinToken(token).secret) })
    server.setClock(601_000)
    await expect(post()).rejects.toMatchObject({ code: 'expired' })
    server.setClock(0)
    expect(await post()).toMatchObject({ host: name })
    await server.services.hosts.remove(name, server.by())
  })

  /** A stream of our own with the host's key and certificate: every frame that came, and a way to wait for the next. */
  const byHand = async () => {
    const identity = loadIdentity(stateFolder)
    const connection = { ...(await trusted()), client: { key: identity.pem, certificate: identity.certificate } }
    const frames: hostStream.FrameToAgent[] = []
    const stream = await openStream(connection, frame => frames.push(frame))
    const hello = (revision: number, incarnation = server.services.store.incarnation, checkpoint?: string) =>
      stream.send({
        type: 'hello',
        revision,
        incarnation,
        agent: 'test',
        sshd: 'none',
        ...(checkpoint === undefined ? {} : { checkpoint }),
      })
    const frame = async (count: number) => {
      await expect.poll(() => frames.length, { timeout: 10_000 }).toBe(count)
      return frames[count - 1]
    }
    return { stream, frames, hello, frame }
  }
  const revokeSomeKey = () =>
    server.services.authority.revoke({ publicKey: parsePublicKey(newKey().line) }, 'test', server.by())

  it('gets the newest state only when it was slow, and nothing twice', async () => {
    await stopAgent()
    const { stream, frames, hello, frame } = await byHand()
    hello(0)
    const first = await frame(1)
    if (first?.type !== 'state') throw new Error('no state came')
    await revokeSomeKey()
    await revokeSomeKey()
    const { krlVersion } = await revokeSomeKey()
    stream.send({ type: 'in-force', revision: first.state.revision })
    const second = await frame(2)
    if (second?.type !== 'state') throw new Error('no state came')
    expect(second.state.krl.version).toBe(String(krlVersion))
    expect(second.state.revision).toBe(first.state.revision + 1)
    stream.send({ type: 'in-force', revision: second.state.revision })
    await expect.poll(async () => (await view()).inForce).toBe(second.state.revision)
    expect(frames.length).toBe(2)
    stream.close()
    // Who has the newest already is told so, without the documents.
    const again = await byHand()
    again.hello(second.state.revision)
    expect(await again.frame(1)).toMatchObject({ type: 'current', revision: second.state.revision })
    again.stream.close()
  })

  it('gets certificates with its names of now by itself, once they are changed', async () => {
    startAgent()
    await connected()
    const { hosts } = server.services
    const held = () =>
      parseCertificate(readFileSync(join(sshd.folder, 'sshd', 'ssh_host_ed25519_key-cert.pub'), 'utf8').trim())
    const other = parseHostName('other.keyman.localhost', 'alias')
    await hosts.change(NAME, { addAliases: [other], removeAliases: [ALIAS] }, server.by())
    await expect.poll(() => held().principals, { timeout: 15_000 }).toEqual([NAME, other])
    await stopAgent()
    // While it was not there.
    await hosts.change(NAME, { addAliases: [ALIAS], removeAliases: [other] }, server.by())
    startAgent()
    await expect.poll(() => held().principals, { timeout: 15_000 }).toEqual([NAME, ALIAS])
    await stopAgent()
  })

  it('joins as what it is by then, where its labels are changed while it joins', async () => {
    const name = parseHostName('both.keyman.localhost', 'name')
    const { hosts, authority } = server.services
    const { token } = await hosts.add(newHost(name), server.by())
    const join = async () =>
      call(await trusted(), api.hostSelf.join, { body: await joinBody(parseJoinToken(token).secret) })
    // Asked between what a join reads of the host and its transaction.
    vi.spyOn(authority, 'ready').mockImplementationOnce(async () => {
      await hosts.change(name, { labels: { env: null, tier: 'web' } }, server.by())
    })
    await expect(join()).rejects.toMatchObject({ code: 'conflict' })
    expect(await join()).toMatchObject({ host: name })
    // The log vouches for it by its labels of now alone.
    expect(await hosts.show(name)).toMatchObject({ labels: { tier: 'web' } })
    await hosts.remove(name, server.by())
  })

  it('keeps what it found while it says that it has not looked yet, and nothing of it once it has found nothing', async () => {
    const held = await byHand()
    held.hello(0)
    const first = await held.frame(1)
    if (first?.type !== 'state') throw new Error('no state came')
    const { revision } = first.state
    const findings = [{ about: 'remark' as const, message: 'a key' }]
    held.stream.send({ type: 'in-force', revision, findings })
    await expect.poll(async () => (await view()).findings).toEqual(findings)
    held.stream.close()
    const started = await byHand()
    started.hello(revision)
    await started.frame(1)
    started.stream.send({ type: 'failed', revision, message: 'not yet' })
    await expect.poll(async () => (await view()).message).toBe('not yet')
    started.stream.send({ type: 'in-force', revision, looking: true })
    await expect.poll(async () => (await view()).message).toBe(undefined)
    expect((await view()).findings).toEqual(findings)
    started.stream.send({ type: 'in-force', revision })
    await expect.poll(async () => (await view()).findings ?? []).toEqual([])
    started.stream.close()
  })

  it('that failed with an earlier state is waited for all the same when something is revoked', async () => {
    const { stream, hello, frame } = await byHand()
    hello(0)
    const first = await frame(1)
    if (first?.type !== 'state') throw new Error('no state came')
    stream.send({ type: 'failed', revision: first.state.revision, message: 'the disk is full' })
    await expect.poll(async () => (await view()).message).toBe('the disk is full')
    const { krlVersion } = await revokeSomeKey()
    const waiting = server.services.hosts.waitForKrl(krlVersion, 10)
    const second = await frame(2)
    if (second?.type !== 'state') throw new Error('no state came')
    stream.send({ type: 'in-force', revision: second.state.revision })
    expect((await waiting).find(({ name }) => name === NAME)).toMatchObject({ state: 'in-force' })
    stream.close()
  })

  it('may say that what it has is in force no more, and later that it came right; meanwhile nothing is in force there', async () => {
    const { stream, hello, frame } = await byHand()
    hello(0)
    const first = await frame(1)
    if (first?.type !== 'state') throw new Error('no state came')
    const { revision, krl } = first.state
    const said = async () =>
      (await server.services.hosts.waitForKrl(BigInt(krl.version), 0)).find(({ name }) => name === NAME)
    stream.send({ type: 'in-force', revision })
    await expect.poll(said).toEqual({ name: NAME, state: 'in-force', revision, seesLogins: false })
    expect(await view()).toMatchObject({ state: 'connected', inForce: revision })
    const message = 'somebody changed the list of revoked certificates'
    stream.send({ type: 'failed', revision, message })
    await expect.poll(said).toEqual({ name: NAME, state: 'failed', revision, seesLogins: false, message })
    expect(await view()).toMatchObject({ state: 'failed', message })
    stream.send({ type: 'in-force', revision })
    await expect.poll(said).toEqual({ name: NAME, state: 'in-force', revision, seesLogins: false })
    expect(await view()).toMatchObject({ state: 'connected' })
    stream.close()
  })

  it('is not taken at its word for a revision that it was not sent', async () => {
    const { stream, hello, frame } = await byHand()
    hello(0)
    const state = await frame(1)
    if (state?.type !== 'state') throw new Error('no state came')
    const before = await view()
    stream.send({ type: 'in-force', revision: state.state.revision + 5 })
    stream.send({ type: 'failed', revision: state.state.revision, message: 'the disk is full' })
    await expect.poll(async () => (await view()).message).toBe('the disk is full')
    expect((await view()).inForce).toBe(before.inForce)
    stream.close()
  })

  it.each([
    ['text that is no frame', 'nonsense'],
    [
      'a hello that would move the cursor of whoever lists hosts',
      JSON.stringify({ type: 'hello', revision: 0, incarnation: '', agent: '\u001b[2J', sshd: '' }),
    ],
    [
      'more findings than it may have',
      JSON.stringify({
        type: 'in-force',
        revision: 1,
        findings: Array.from({ length: 65 }, () => ({ about: 'remark', message: 'x' })),
      }),
    ],
    ['a frame with a field too many', JSON.stringify({ type: 'in-force', revision: 1, extra: true })],
  ])('loses its stream for %s', async (_, text) => {
    const identity = loadIdentity(stateFolder)
    const client = { key: identity.pem, certificate: identity.certificate }
    const url = `${server.url.replace('https', 'wss')}${HOST_STREAM_PATH}`
    const socket = new WebSocket(url, tlsOptions({ ...(await trusted()), client }))
    socket.once('open', () => socket.send(text))
    const [code, reason] = await once(socket, 'close')
    expect([code, String(reason)]).toEqual([1008, 'not a frame of the host stream'])
  })

  it('loses its stream at the next frame after its certificate has ended', async () => {
    const { stream, hello, frame } = await byHand()
    hello(0)
    await frame(1)
    server.setClock(31 * 86_400_000)
    stream.send({ type: 'failed', revision: 1, message: 'still here' })
    expect(await stream.ended).toContain('the server closed')
    await expect(byHand()).rejects.toMatchObject({ code: 'denied' })
    server.setClock(0)
    const twin = await byHand()
    twin.stream.close()
  })

  it('loses its stream when it says more at once than anybody could read', async () => {
    const { stream, hello } = await byHand()
    hello(0)
    for (let i = 0; i < 1000; i++) stream.send({ type: 'failed', revision: 1, message: 'again' })
    expect(await stream.ended).toContain('too many messages at once')
  })

  it('that is there twice is told what is new on both machines, and is in force on none until one has gone', async () => {
    const inForceAt = async (krlVersion: bigint) =>
      (await server.services.hosts.waitForKrl(krlVersion, 0)).find(({ name }) => name === NAME)?.state
    const answer = async (of: Awaited<ReturnType<typeof byHand>>, count: number) => {
      const frame = await of.frame(count)
      if (frame?.type !== 'state') throw new Error('no state came')
      of.stream.send({ type: 'in-force', revision: frame.state.revision })
      return BigInt(frame.state.krl.version)
    }
    const original = await byHand()
    original.hello(0)
    const krlVersion = await answer(original, 1)
    await expect.poll(() => inForceAt(krlVersion)).toBe('in-force')
    const copy = await byHand()
    copy.hello(0)
    await answer(copy, 1)
    await expect
      .poll(async () => (await view()).message)
      .toMatch(/^two machines have the key of this host, at \S+ and \S+:/)
    expect(await view()).toMatchObject({ state: 'failed' })
    const revoked = await revokeSomeKey()
    expect(await answer(original, 2)).toBe(revoked.krlVersion)
    expect(await answer(copy, 2)).toBe(revoked.krlVersion)
    expect(
      (await server.services.hosts.waitForKrl(revoked.krlVersion, 10)).find(({ name }) => name === NAME),
    ).toMatchObject({
      state: 'failed',
      message: expect.stringContaining('two machines'),
    })
    copy.stream.close()
    const again = await original.frame(3)
    if (again?.type !== 'current') throw new Error('the one that is left was not asked again')
    original.stream.send({ type: 'in-force', revision: again.revision })
    await expect.poll(() => inForceAt(revoked.krlVersion)).toBe('in-force')
    expect(await view()).toMatchObject({ state: 'connected' })
    original.stream.close()
  })

  it('keeps a few streams at most, however many it opens: its oldest goes', async () => {
    const first = await byHand()
    const others = [await byHand(), await byHand(), await byHand(), await byHand()]
    expect(await first.stream.ended).toContain('too many streams')
    for (const { stream } of others) stream.close()
  })

  it('loses its stream at once when it is taken out, and gets in no more', async () => {
    const identity = loadIdentity(stateFolder)
    const connection = { ...(await trusted()), client: { key: identity.pem, certificate: identity.certificate } }
    const stream = await openStream(connection, () => undefined)
    await server.services.hosts.remove(NAME, server.by())
    expect(await stream.ended).toContain('the server closed')
    await expect(openStream(connection, () => undefined)).rejects.toMatchObject({ code: 'denied' })
    await expect(call(connection, api.hostSelf.renewClientCertificate, {})).rejects.toMatchObject({
      code: 'not-signed-in',
    })
  })

  it('raised no alarm in all of this but those of the changed file and the second machine', () => {
    const alarms = server.said().match(/[^"]*ALARM[^"]*/g) ?? []
    const isMeant = (alarm: string) =>
      /^web1.keyman.localhost: ALARM: somebody changed sshd's files: .*user_ca.pub/.test(alarm) ||
      /^ALARM: web1.keyman.localhost: two machines have the key/.test(alarm)
    expect(alarms.filter(isMeant).length).toBeGreaterThan(1)
    expect(alarms.filter(alarm => !isMeant(alarm))).toEqual([])
    expect(server.said()).not.toContain('rows were lost')
  })

  it('that has a later revision in force than the database knows raises the alarm, and keeps what it has', async () => {
    const { token } = await server.services.hosts.add(newHost(NAME), server.by())
    expect((await runAgent(['join', '--again', '--token-file', '-', ...machine()], token)).code).toBe(0)
    const { stream, frames, hello } = await byHand()
    hello((await view()).revision + 1)
    expect(await stream.ended).toContain('knows less than this host')
    expect(frames).toEqual([])
    expect(server.said()).toContain('rows were lost')
    const twin = await byHand()
    twin.hello((await view()).revision)
    expect(await twin.frame(1)).toMatchObject({ type: 'current' })
    // A tree head that does not extend the last comes between two states, when nothing is waited for.
    twin.stream.send({ type: 'failed', revision: 1, message: 'ALARM: the log does not extend' })
    await expect.poll(() => server.said()).toContain(`${NAME}: ALARM: the log does not extend`)
    twin.stream.close()
  })

  it('that shows a tree head which the log never signed is called what it is: no rows were lost', async () => {
    const note = `acme/keyman-log\n999999\n${'A'.repeat(43)}=\n\n\u2014 acme/keyman-log ${'A'.repeat(91)}=\n`
    const { stream, hello, frame } = await byHand()
    hello(0, undefined, note)
    await frame(1)
    await expect.poll(() => server.said()).toContain('a tree head of 999999 records that the log')
    stream.close()
  })

  it('loses its stream when it says again and again that something failed, and is heard a few times', async () => {
    const { stream, hello, frame } = await byHand()
    hello(0)
    expect(await frame(1)).toMatchObject({ type: 'state' })
    const before = server.said().split('ALARM').length
    let ended = ''
    const over = stream.ended.then(why => {
      ended = why
    })
    for (let i = 0; i < 100 && ended === ''; i++) {
      stream.send({ type: 'failed', revision: 999, message: `ALARM: number ${i}` })
      // One after the other, as slowly as it is answered: the bound on what is unread is another one.
      await server.services.hosts.show(NAME)
    }
    await over
    expect(ended).toContain('unasked')
    expect(server.said().split('ALARM').length - before).toBeLessThanOrEqual(20)
  })
})
