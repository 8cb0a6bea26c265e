import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { printable } from '#shared/names.ts'
import { asTyped, hostArgument } from '../calls/host-argument.ts'
import { currentContext, listContexts, readableContexts, requireSession } from '../context/context.ts'
import { readIfThere, remove } from '../context/files.ts'
import { folders } from '../context/folders.ts'
import { signedInJson } from '../session/signed-in-json.ts'
import { checkAlias, hasDemo, readAliases, shortNames, writeAliases } from '../ssh/aliases.ts'
import { includedText, makePlainFile, namesHost, refreshSshFiles, sshFiles } from '../ssh/files.ts'
import { afterInstall, changeInclude, includeState } from '../ssh/include.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { ask, canAsk, print, printJson, remark } from '../terminal/terminal.ts'

const config = command({
  help: `keyman ssh config: the one line in ~/.ssh/config through which plain ssh works
usage: keyman ssh config --install | --remove | --show | --plain [--json]

  --install   put it on top of ~/.ssh/config (nothing happens where it holds for every host already)
  --remove    take exactly that line out again, and remove the file of --plain
  --show      print what it includes
  --plain     write the hosts into a file of its own, which nothing includes, for programs that know no Match;
              prints its path (docs/clients.md)

How to check: ssh -G YOURHOST | grep certificatefile. More: docs/login.md`,
  options: {
    install: { type: 'boolean' },
    remove: { type: 'boolean' },
    show: { type: 'boolean' },
    plain: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    if ([values.install, values.remove, values.show, values.plain].filter(Boolean).length !== 1)
      throw usage('exactly one of --install, --remove, --show and --plain')
    const places = folders()
    const { include, userConfig, plain } = sshFiles(places)
    if (values.plain) {
      const path = makePlainFile(places)
      if (listContexts(places).length === 0) remark('There are no hosts in it before a login.')
      remark('Each login makes it anew. Undo: keyman ssh config --remove')
      if (values.json) printJson({ file: path })
      else print(path)
      return EXIT.done
    }
    if (values.show) {
      const included = includeState(places) === 'holds'
      const text = includedText(places)
      if (values.json) printJson({ included, by: userConfig, file: include, text: text ?? '' })
      else
        print(
          `# ${included ? 'included' : 'not included'} by ${userConfig}\n${text ?? '# nothing yet: run keyman login'}`,
        )
      return EXIT.done
    }
    const stood = includeState(places)
    const changed = changeInclude(places, values.install ? 'install' : 'remove')
    if (values.remove) remove(plain)
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

Renews within the session, or begins a login where there is a person to ask; never for a workload.
Exit 0: the certificate is good.`,
  options: {},
  async run(_, positionals) {
    take(positionals, [])
    const { checkBeforeSsh } = await import('../session/ssh-check.ts')
    return (await checkBeforeSsh(folders(), remark)) ? EXIT.done : EXIT.notSignedIn
  },
})

const renew = command({
  help: `keyman ssh renew: get a new certificate within the session
usage: keyman ssh renew [--if-due | --new-host] [--json]

  --if-due   do nothing while enough time is left
  --new-host  what ssh runs for a name that it does not know: not again within a few seconds
  --json     what then holds, as keyman status --json says it

It happens by itself: ssh starts it when a third of the certificate's life is left. The keys stay the same;
a workload gets a new client key each time.`,
  options: { 'if-due': { type: 'boolean' }, 'new-host': { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const { renewSession } = await import('../session/renew.ts')
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

const alias = command({
  help: `keyman ssh alias: other names by which plain ssh, and keyman, know a host
usage: keyman ssh alias [NAME HOST | NAME --remove | --short [--yes]] [--json]

  NAME HOST   declare one: a short name, an address, or another name that the DNS has for it
  NAME --remove
  --short     declare the first part of each host's name that you can log in to, where it means one host alone
              and ~/.ssh/config does not name it; shows them and asks (--yes: does not ask)

Without arguments lists them. They are this machine's, and a server has no say in them.
examples:
  keyman ssh alias w1 web1.prod.example.com
  keyman ssh alias 192.0.2.7 db1.prod.example.com
More: docs/login.md`,
  options: {
    remove: { type: 'boolean' },
    short: { type: 'boolean' },
    yes: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const places = folders()
    const held = readAliases(places)
    const keep = (aliases: typeof held) => {
      writeAliases(places, aliases)
      refreshSshFiles(places)
      if (values.json) printJson({ aliases: readAliases(places) })
      return EXIT.done
    }
    if (values.yes && !values.short) throw usage('--yes belongs to --short')
    if (values.short) {
      take(positionals, [])
      const { userConfig } = sshFiles(places)
      const config = readIfThere(userConfig) ?? ''
      const hosts = readableContexts(places).flatMap(({ hosts }) => hosts.map(({ name }) => name))
      const demo = hasDemo(places)
      const taken = (name: string) =>
        namesHost(config, name) || held.some(({ alias }) => alias === name) || (name === 'demo' && demo)
      const found = shortNames(hosts, taken)
      if (found.length === 0) {
        remark('There is no short name to declare.')
        return keep(held)
      }
      for (const { alias, host } of found) remark(`${alias}  ${host}`)
      if (!values.yes) {
        if (!canAsk()) throw usage('nobody can be asked whether these names are right', 'add --yes if they are')
        if (!(await ask('Are these names right?', false)))
          throw new KeymanError('denied', 'the names were not accepted; nothing was changed')
      }
      return keep([...held, ...found])
    }
    if (positionals.length === 0 && !values.remove) {
      if (values.json) printJson({ aliases: held })
      else for (const { alias, host } of held) print(`${alias}  ${host}`)
      return EXIT.done
    }
    if (values.remove) {
      const [name] = take(positionals, ['NAME'])
      const gone = asTyped(name)
      if (!held.some(({ alias }) => alias === gone))
        throw new KeymanError('not-found', `${printable(name)} is no alias`, { hint: 'keyman ssh alias lists them' })
      return keep(held.filter(({ alias }) => alias !== gone))
    }
    const [name, target] = take(positionals, ['NAME', 'HOST'])
    const added = { alias: asTyped(name), host: await hostArgument(target, 'HOST') }
    checkAlias(places, added)
    return keep([...held.filter(({ alias }) => alias !== added.alias), added])
  },
})

export const commands: Record<string, Command> = { config, check, renew, alias }
