import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take, usage } from '../command.ts'
import { currentContext, requireSession } from '../context.ts'
import { readIfThere } from '../files.ts'
import { folders } from '../folders.ts'
import { signedInJson } from '../signed-in-json.ts'
import { sshFiles } from '../ssh-files.ts'
import { afterInstall, changeInclude, includeState } from '../ssh-include.ts'
import { print, printJson, remark } from '../terminal.ts'

const config = command({
  help: `keyman ssh config: the one line in ~/.ssh/config through which plain ssh works
usage: keyman ssh config --install | --remove | --show [--json]

  --install   put it on top of ~/.ssh/config (nothing happens where it holds for every host already)
  --remove    take exactly that line out again
  --show      print what it includes

How to check: ssh -G YOURHOST | grep certificatefile. More: docs/login.md`,
  options: {
    install: { type: 'boolean' },
    remove: { type: 'boolean' },
    show: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    if ([values.install, values.remove, values.show].filter(Boolean).length !== 1)
      throw usage('exactly one of --install, --remove and --show')
    const places = folders()
    const { include, userConfig } = sshFiles(places)
    if (values.show) {
      const included = includeState(places) === 'holds'
      const text = readIfThere(include)
      if (values.json) printJson({ included, by: userConfig, file: include, text: text ?? '' })
      else
        print(
          `# ${included ? 'included' : 'not included'} by ${userConfig}\n${text ?? '# nothing yet: run keyman login'}`,
        )
      return EXIT.done
    }
    const stood = includeState(places)
    const changed = changeInclude(places, values.install ? 'install' : 'remove')
    if (!values.install) remark(changed ? `Removed from ${userConfig}.` : `It was not in ${userConfig}.`)
    else if (!changed) remark(`It stands in ${userConfig} already.`)
    else remark(`${stood === 'absent' ? 'Added to' : 'Moved to the top of'} ${userConfig}; ${afterInstall(places)}`)
    if (values.json) printJson({ included: values.install === true, by: userConfig, changed })
    return EXIT.done
  },
})

const check = command({
  help: `keyman ssh check: what ssh runs when little or nothing is left of the certificate
usage: keyman ssh check

Renews within the session, or begins a login where there is a person to ask. Exit 0: the certificate is good.`,
  options: {},
  async run(_, positionals) {
    take(positionals, [])
    const { checkBeforeSsh } = await import('../ssh-check.ts')
    return (await checkBeforeSsh(folders(), remark)) ? EXIT.done : EXIT.notSignedIn
  },
})

const renew = command({
  help: `keyman ssh renew: get a new certificate within the session, for the same keys
usage: keyman ssh renew [--if-due | --new-host] [--json]

  --if-due   do nothing while enough time is left
  --new-host  what ssh runs for a name that it does not know: not again within a few seconds
  --json     what then holds, as keyman status --json says it

It happens by itself: ssh starts it when a third of the certificate's life is left.`,
  options: { 'if-due': { type: 'boolean' }, 'new-host': { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const { renewSession } = await import('../renew.ts')
    const places = folders()
    if (values['if-due'] && values['new-host']) throw usage('either --if-due or --new-host')
    const when = values['if-due'] ? 'if due' : values['new-host'] ? 'for a new host' : 'now'
    await renewSession(places, currentContext(places), when)
    if (values.json) {
      const { context, session } = requireSession(places, new Date())
      printJson(signedInJson(context, session))
    }
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { config, check, renew }
