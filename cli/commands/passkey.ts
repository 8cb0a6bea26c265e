import { api } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { callByFlags } from '../calls/call-by-flags.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../calls/in-force.ts'
import { callAsPerson } from '../calls/session-call.ts'
import { requireSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { hasScreen, openBrowser, tunnelTo } from '../terminal/browser.ts'
import { type Command, command, take } from '../terminal/command.ts'
import { confirmRemoval } from '../terminal/confirm-removal.ts'
import { print, printJson, remark, table } from '../terminal/terminal.ts'
import { local } from '../terminal/times.ts'

const list = command({
  help: `keyman passkey list: my passkeys
usage: keyman passkey list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.passkeys.list)
    if (values.json) printJson(answer)
    else {
      const rows = answer.passkeys.map(passkey => [
        passkey.id,
        passkey.name,
        passkey.synced ? 'synced' : 'this device alone',
        local(passkey.createdAt),
        passkey.lastUsedAt ? local(passkey.lastUsedAt) : 'never',
      ])
      print(table(['PASSKEY', 'NAME', 'KIND', 'MADE', 'LAST USED'], rows))
    }
    return EXIT.done
  },
})

const add = command({
  help: `keyman passkey add: open the page where a further passkey is made
usage: keyman passkey add [--json]

A passkey is made by a browser; the page signs in with one that exists and adds another.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const { context } = requireSession(folders(), new Date())
    const opened = hasScreen() && (await openBrowser(context.publicUrl))
    if (values.json) printJson({ page: context.publicUrl, opened })
    else remark(opened ? `Opened ${context.publicUrl}` : `Open ${context.publicUrl}`)
    const tunnel = opened ? undefined : tunnelTo(context.publicUrl)
    if (tunnel) remark(`That page opens on this machine alone; from yours:  ${tunnel}`)
    return EXIT.done
  },
})

const rename = command({
  help: `keyman passkey rename: give a passkey another name
usage: keyman passkey rename ID NAME [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id, name] = take(positionals, ['ID', 'NAME'])
    const passkey = await callByFlags(api.passkeys.rename, { params: { id }, body: { name } }, { name: 'NAME' })
    if (values.json) printJson(passkey)
    else remark(`${passkey.id} is now called ${passkey.name}.`)
    return EXIT.done
  },
})

const remove = command({
  help: `keyman passkey remove: a passkey that can't be used any more; the last one stays
usage: keyman passkey remove ID [--wait 5 | --no-wait] [--yes] [--json]

${WAIT_HELP}

It ends all your other sessions, with their certificates: whoever has the passkey may have signed in by it.`,
  options: { ...WAIT_OPTIONS, yes: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    const others = 'It also ends all your sessions but this one, with their certificates.'
    if (!(await confirmRemoval(id, values.yes, others))) return EXIT.failed
    const wait = secondsToWait(values)
    const answer = await callAsPerson(api.passkeys.remove, { params: { id }, ...waiting(wait) })
    if (values.json) printJson(answer)
    else remark(`Removed ${id}. All your other sessions have ended, with their certificates.`)
    return sayInForce(answer, wait, values.json)
  },
})

export const commands: Record<string, Command> = { list, add, rename, remove }
