import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Finding } from '#shared/api/fields.ts'
import { parseHostName } from '#shared/names.ts'
import type { AgentConfig } from '../config.ts'
import type { Found } from './findings.ts'
import { lookAround } from './look-around.ts'

const known: Finding = { about: 'lets-in', message: '1 plain key', login: 'root', fingerprints: [] }
const before: Found = { places: [], by: 'as it was', findings: [known], silent: false }

describe('a look around', () => {
  let folder: string
  const at = (name: string) => join(folder, name)
  const configured = (sshd: string): AgentConfig => ({
    version: 1,
    url: 'https://localhost:4443',
    organisation: 'example',
    host: parseHostName('web1.example.com', 'host'),
    rootFingerprint: `SHA256:${'A'.repeat(43)}`,
    sshdFolder: folder,
    dropIn: at('keyman.conf'),
    sshdConfig: at('sshd_config'),
    sshd,
    sshKeygen: '/usr/bin/ssh-keygen',
    hostKeys: [at('key.pub')],
    reload: { pidFile: at('pid') },
  })
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-look-'))
    writeFileSync(at('sshd_config'), '')
    writeFileSync(at('silent'), '#!/bin/sh\nexec sleep 1000\n', { mode: 0o755 })
    execFileSync('mkfifo', [at('held')])
    writeFileSync(at('left'), `#!/bin/sh\nexec > ${at('held')}\nkill -9 $PPID\nexec sleep 1000\n`, { mode: 0o755 })
    writeFileSync(at('prompt'), '#!/bin/sh\necho hostkey none\n', { mode: 0o755 })
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('that comes to an end says what is there now', async () => {
    const { findings, silent } = await lookAround(configured(at('prompt')), new Date(), before).found
    expect([findings.includes(known), silent]).toEqual([false, false])
    expect(JSON.stringify(findings)).not.toContain('could not be looked at')
  })

  it('that does not come to an end is ended: what was found before stays, and that nobody looked is told', async () => {
    const { found, gone } = lookAround(configured(at('silent')), new Date(), before, 500)
    const remark = {
      about: 'remark',
      message: 'what else decides who gets in could not be looked at: no answer within 0.5 seconds',
    }
    expect(await found).toMatchObject({ findings: [known, remark], silent: true })
    await gone
  })

  it('leaves nothing running that it started, however it ended', async () => {
    // Its end is there when nobody holds the other side any more.
    const held = readFile(at('held'))
    const remark = 'what else decides who gets in could not be looked at: it ended without an answer'
    const { findings } = await lookAround(configured(at('left')), new Date()).found
    expect(findings).toEqual([{ about: 'remark', message: remark }])
    expect((await held).length).toBe(0)
  })
})
