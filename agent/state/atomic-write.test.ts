import { execFileSync } from 'node:child_process'
import * as nodeFs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8 } from '#shared/bytes.ts'
import { ensureFolder, type FileSystem, removeFile, removeTemporaries, writeAtomically } from './atomic-write.ts'

let folder: string
let path: string
beforeEach(() => {
  folder = nodeFs.mkdtempSync(join(tmpdir(), 'keyman-agent-'))
  path = join(folder, 'file')
})
afterEach(() => nodeFs.rmSync(folder, { recursive: true, force: true }))

const content = () => nodeFs.readFileSync(path, 'utf8')
const names = () => nodeFs.readdirSync(folder)

describe('writing a file that sshd reads', () => {
  it('writes it with its mode, and says whether anything had to be written', () => {
    expect(writeAtomically(path, utf8('one'), 0o644)).toBe(true)
    expect(writeAtomically(path, utf8('one'), 0o644)).toBe(false)
    expect(writeAtomically(path, utf8('two'), 0o644)).toBe(true)
    expect(content()).toBe('two')
    expect(nodeFs.statSync(path).mode & 0o777).toBe(0o644)
    expect(names()).toEqual(['file'])
  })

  it('puts a mode right that somebody has changed', () => {
    writeAtomically(path, utf8('one'), 0o600)
    nodeFs.chmodSync(path, 0o666)
    expect(writeAtomically(path, utf8('one'), 0o600)).toBe(true)
    expect(nodeFs.statSync(path).mode & 0o777).toBe(0o600)
  })

  it('refuses a symbolic link that was planted there, and leaves what it points to as it was', () => {
    const target = join(folder, 'target')
    nodeFs.writeFileSync(target, 'precious')
    nodeFs.symlinkSync(target, path)
    expect(() => writeAtomically(path, utf8('evil'), 0o644)).toThrow(/not a plain file/)
    expect(nodeFs.readFileSync(target, 'utf8')).toBe('precious')
    nodeFs.rmSync(path)
    expect(writeAtomically(path, utf8('good'), 0o644)).toBe(true)
  })

  it('refuses a folder that is a symbolic link, or that others can write to', () => {
    const real = join(folder, 'real')
    nodeFs.mkdirSync(real, 0o755)
    nodeFs.symlinkSync(real, join(folder, 'link'))
    expect(() => ensureFolder(join(folder, 'link'), 0o755)).toThrow(/not a folder/)
    nodeFs.chmodSync(real, 0o777)
    expect(() => ensureFolder(real, 0o755)).toThrow(/written by others/)
    nodeFs.chmodSync(real, 0o755)
    expect(() => ensureFolder(real, 0o755)).not.toThrow()
    ensureFolder(join(folder, 'new'), 0o755)
    expect(nodeFs.statSync(join(folder, 'new')).mode & 0o777).toBe(0o755)
  })

  it('replaces a file that has a second name, so that the other name does not change with it', () => {
    writeAtomically(path, utf8('one'), 0o644)
    nodeFs.linkSync(path, join(folder, 'second'))
    writeAtomically(path, utf8('two'), 0o644)
    expect(nodeFs.readFileSync(join(folder, 'second'), 'utf8')).toBe('one')
    expect(content()).toBe('two')
  })

  it.each(['writeSync', 'fsyncSync', 'renameSync', 'fchmodSync', 'fchownSync'] as const)(
    'leaves the old file whole when %s fails (disk full in the middle of a write)',
    call => {
      writeAtomically(path, utf8('old and whole'), 0o644)
      let calls = 0
      const failing = (...args: unknown[]): never => {
        calls++
        void args
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
      }
      const fs: FileSystem = { ...nodeFs, [call]: failing }
      expect(() => writeAtomically(path, utf8('new'), 0o644, fs)).toThrow(
        /the disk is full; what was there is unchanged/,
      )
      expect(calls).toBe(1)
      expect(content()).toBe('old and whole')
      expect(names()).toEqual(['file'])
      expect(writeAtomically(path, utf8('new'), 0o644)).toBe(true)
    },
  )

  it('goes on where the system wrote only a part', () => {
    const fs: FileSystem = {
      ...nodeFs,
      writeSync: ((file: number, bytes: Uint8Array, at: number) =>
        nodeFs.writeSync(file, bytes, at, Math.min(3, bytes.length - at))) as FileSystem['writeSync'],
    }
    writeAtomically(path, utf8('0123456789'), 0o644, fs)
    expect(content()).toBe('0123456789')
  })

  it('leaves nothing behind and keeps the old file on a disk that really is full', context => {
    const mount = join(folder, 'small')
    nodeFs.mkdirSync(mount)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0755', 'tmpfs', mount], { stdio: 'ignore' })
    } catch {
      return context.skip('mounting a small file system is not allowed here')
    }
    try {
      const file = join(mount, 'revoked.krl')
      writeAtomically(file, utf8('old and whole'), 0o644)
      expect(() => writeAtomically(file, new Uint8Array(200_000), 0o644)).toThrow(/the disk is full/)
      expect(nodeFs.readFileSync(file, 'utf8')).toBe('old and whole')
      expect(nodeFs.readdirSync(mount)).toEqual(['revoked.krl'])
      expect(writeAtomically(file, utf8('new'), 0o644)).toBe(true)
    } finally {
      execFileSync('umount', [mount])
    }
  })

  it('clears away what an interrupted write has left, and nothing else', () => {
    nodeFs.writeFileSync(join(folder, '.keyman-0123456789abcdef.tmp'), 'half')
    writeAtomically(path, utf8('one'), 0o644)
    removeTemporaries(folder)
    expect(names()).toEqual(['file'])
  })

  it('removes a link itself, not what it points to', () => {
    const target = join(folder, 'target')
    nodeFs.writeFileSync(target, 'precious')
    nodeFs.symlinkSync(target, path)
    expect(removeFile(path)).toBe(true)
    expect(removeFile(path)).toBe(false)
    expect(nodeFs.readFileSync(target, 'utf8')).toBe('precious')
  })
})
