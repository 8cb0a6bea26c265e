import { existsSync, type FSWatcher, readFileSync, statSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import type { hostStream } from '#shared/api/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { shownAtMost } from '#shared/text.ts'
import { told } from '#shared/told.ts'
import { verifyState } from '../server/verify-state.ts'
import { checkNotOverruled } from '../sshd/config.ts'
import { dropInText, sshdFiles } from '../sshd/files.ts'
import type { Found } from '../sshd/findings.ts'
import { lookAround } from '../sshd/look-around.ts'
import { loadMemory } from '../state/memory.ts'
import { readBack } from './apply-state.ts'
import { loadDesired } from './desired.ts'
import { type Agent, accept, apply, type StateFrame } from './handle-frame.ts'
import { filesAreAsLeft, settle } from './settle.ts'

/** What this host says of itself. */
export type Word = Extract<hostStream.FrameToServer, { type: 'in-force' | 'failed' }>

/** `needsAll`: this host does not know what it should have, and has to ask for all of it. */
type Tell = (word: Word, needsAll: boolean) => void

type Watched = { readonly watcher: FSWatcher; readonly inode: number }

/** Several files are changed together; what happens within this time is looked at once. */
const TOGETHER_MS = 50

/**
 * Keeps in force what the server asked for last, with the server or without: looks whenever somebody touches sshd's files or
 * configuration, and writes again what is not as this agent left it. All that touches those files goes through here, one
 * thing after the other.
 */
export class Keeper {
  readonly agent: Agent
  #last: Promise<unknown> = Promise.resolve()
  #tell: Tell | undefined
  #told: Word | undefined
  /** What was found while nobody could be told. */
  #untold: string | undefined
  /** By folder, while this is to watch. */
  #watching: Map<string, Watched> | undefined
  #needsAll = false
  #logged: string | undefined
  #touched: NodeJS.Timeout | undefined
  /** What this host's own configuration says beside ours, by the last look. */
  #around: Found | undefined
  /** Of sshd's configuration as the last turn before that look had it. */
  #lookedAt: string | undefined
  #looking: Promise<void> | undefined
  /** Until the process of the last look is gone, there is no other. */
  #gone = true

  constructor(agent: Agent) {
    this.agent = agent
  }

  inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Whom words that nobody asked for are told to, until the function that it gives is called. */
  onWord(tell: Tell): () => void {
    this.#tell = tell
    this.#told = undefined
    return () => {
      if (this.#tell === tell) this.#tell = undefined
    }
  }

  /**
   * In its turn: does what a frame asks, and gives what became of it; nothing for a tree head alone. Throws where the server
   * is not believed, or this host's own memory is gone. `whole`: with what else decides who gets in, which is waited for.
   */
  async take(frame: StateFrame, { whole = false }: { readonly whole?: boolean } = {}): Promise<Word | undefined> {
    const state = accept(this.agent, frame)
    if (frame.type === 'log') return undefined
    let word = await this.#bring(state)
    if (whole && word.type === 'in-force') {
      await this.lookAround()
      word = this.#inForce(word.revision)
    }
    // Before the word, and what this very look has found as well.
    if (this.#untold !== undefined) this.#tell?.(this.#failed(this.#untold, word.revision), false)
    this.#untold = undefined
    this.#told = word
    return word
  }

  /** In its turn: looks whether all is as it should be, brings it there, and tells of it where that is news. */
  async look({ always = false }: { readonly always?: boolean } = {}): Promise<void> {
    const { agent } = this
    if (!existsSync(agent.stateFolder) || loadMemory(agent.stateFolder).revision === 0) return
    const word = await this.#bring(undefined, always)
    // Before its first answer to a frame nobody has asked yet.
    if (this.#told === undefined || isSame(word, this.#told)) return
    this.#told = word
    this.#tell?.(word, this.#needsAll)
  }

  /** Looks whenever something of sshd's is touched, until the function that it gives is called. */
  watch(): () => void {
    this.#watching = new Map()
    this.#arm()
    return () => {
      for (const { watcher } of this.#watching?.values() ?? []) watcher.close()
      this.#watching = undefined
      clearTimeout(this.#touched)
    }
  }

  async #bring(state: ReturnType<typeof accept>, always = false): Promise<Word> {
    const { agent } = this
    this.#arm()
    try {
      if (state) return this.#inForce(await apply(agent, state))
      await this.#repair()
      checkNotOverruled(agent.config)
      await settle(agent, agent.asked, { always })
      const { revision, filesHash } = loadMemory(agent.stateFolder)
      if (filesHash === undefined) throw new KeymanError('unavailable', "sshd's files are not there yet")
      this.#logged = undefined
      return this.#inForce(revision)
    } catch (error) {
      const { message } = told(error)
      if (this.#logged !== message) agent.log.error(message)
      this.#logged = message
      return this.#failed(message, state?.revision)
    } finally {
      this.#arm()
    }
  }

  /** With what else decides who gets in here, as far as that is known: nothing that ends somebody's access waits for more. */
  #inForce(revision: number): Word {
    if (this.#lookedAt !== this.agent.asked.fingerprint) void this.lookAround()
    if (this.#around === undefined) return { type: 'in-force', revision, looking: true }
    const { findings } = this.#around
    return { type: 'in-force', revision, ...(findings.length === 0 ? {} : { findings: [...findings] }) }
  }

  /**
   * Looks what else decides who gets in here, beside all turns, and tells of it where that is news: one look at a time, and
   * where a home did not answer the next one is an hour later, or after a change of sshd's configuration. Accounts of a
   * directory change no file: `always` asks for them anew. Never rejects.
   */
  lookAround({ always = false }: { readonly always?: boolean } = {}): Promise<void> {
    if (this.#looking !== undefined) return this.#looking
    const { config, asked } = this.agent
    const waits = this.#around?.silent === true && this.#lookedAt === asked.fingerprint && !always
    if (!this.#gone || waits) return Promise.resolve()
    this.#lookedAt = asked.fingerprint
    this.#gone = false
    // Of no state that holds: all is looked at anew, and what was found stays where nobody can look.
    const before = always && this.#around ? { ...this.#around, by: '' } : this.#around
    const { found, gone } = lookAround(config, new Date(), before)
    void gone.then(() => {
      this.#gone = true
    })
    this.#looking = found.then(around => {
      const isNews = JSON.stringify(around.findings) !== JSON.stringify(this.#around?.findings)
      this.#around = around
      this.#looking = undefined
      // A turn may have seen another configuration while it looked. Where nobody is told, the next word says it.
      if (this.#tell && (isNews || this.#lookedAt !== asked.fingerprint)) this.#lookInTurn()
    })
    return this.#looking
  }

  /** Writes again what somebody changed, and tells of it first: until then nothing is in force here. */
  async #repair(): Promise<void> {
    const { agent } = this
    const memory = loadMemory(agent.stateFolder)
    if (filesAreAsLeft(agent.config, memory)) return
    this.#needsAll = true
    const desired = loadDesired(agent.stateFolder)
    this.#needsAll = false
    const state = verifyState(desired, memory)
    // What this agent did not come to the end of is nobody's doing.
    if (memory.filesHash !== undefined) {
      const message = `ALARM: somebody changed sshd's files: ${this.#difference(state)}; they are written again`
      agent.log.error(message)
      if (this.#tell && this.#told) {
        this.#told = this.#failed(message, memory.revision)
        this.#tell(this.#told, false)
      } else this.#untold = message
    }
    await apply(agent, state)
  }

  #difference(state: ReturnType<typeof verifyState>): string {
    const { config, style } = this.agent
    try {
      if (!equalBytes(readFileSync(config.dropIn), dropInText(config))) return config.dropIn
      readBack(state, config, style)
      return config.sshdFolder
    } catch (error) {
      return told(error).message.replace(/^read back: /, '')
    }
  }

  #failed(message: string, revision: number | undefined): Word {
    return {
      type: 'failed',
      revision: revision ?? revisionInForce(this.agent.stateFolder),
      message: shownAtMost(message, 500),
    }
  }

  /** Once more each time: a folder that was made anew is another one. Before a look, so that nothing falls between both. */
  #arm(): void {
    if (!this.#watching) return
    const { config } = this.agent
    const { folder, principals } = sshdFiles(config)
    for (const path of new Set([folder, principals, dirname(config.dropIn), dirname(config.sshdConfig)])) {
      const before = this.#watching.get(path)
      const inode = statSync(path, { throwIfNoEntry: false })?.ino
      if (before && before.inode === inode) continue
      before?.watcher.close()
      this.#watching.delete(path)
      if (inode === undefined) continue
      try {
        const watcher = watch(path, { persistent: false }, () => this.#onTouch())
        watcher.on('error', () => watcher.close())
        this.#watching.set(path, { watcher, inode })
      } catch {
        // The system's watches are used up: the look by the clock finds it within the minute.
      }
    }
  }

  #onTouch(): void {
    this.#touched ??= setTimeout(() => {
      this.#touched = undefined
      this.#lookInTurn()
    }, TOGETHER_MS)
  }

  #lookInTurn(): void {
    this.inTurn(() => this.look()).catch(error => this.agent.log.error(told(error).message))
  }
}

const isSame = (a: Word, b: Word): boolean => JSON.stringify(a) === JSON.stringify(b)

/** 0 where the memory cannot be read: that too is told, not thrown. */
export function revisionInForce(stateFolder: string): number {
  try {
    return loadMemory(stateFolder).revision
  } catch {
    return 0
  }
}
