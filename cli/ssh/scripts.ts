/** Pure: the two scripts that ssh runs by our `Match exec`. */

/**
 * The check that `Match exec` runs before each ssh to one of our hosts: a shell alone while enough time is left. While
 * little is left it still says yes at once and the renewal goes on behind it; Node is waited for only when nothing is left.
 */
export function checkScript(input: {
  readonly validUntil: string
  /** Where the private key is: a file, or an agent's socket, which has to list the public key (base64). */
  readonly key: { readonly file: string } | { readonly agent: string; readonly publicKey: string }
  readonly keyman: string
  readonly organisation: string
}): string {
  const keyman = word(input.keyman)
  const context = `--context '${input.organisation}'`
  return `#!/bin/sh
# Made by keyman: is the certificate still good, and its key there? ssh runs this before it connects to one of our hosts.
renew=0 ends=0
{ read -r renew && read -r ends; } 2>/dev/null <${word(input.validUntil)}
now=$(date +%s)
${keyTest(input.key)} || ends=0
[ "$ends" != 0 ] && [ "$now" -lt "\${renew:-0}" ] && exit 0
if [ "$now" -lt "\${ends:-0}" ]; then
  ${keyman} ssh renew --if-due ${context} </dev/null >/dev/null 2>&1 &
  exit 0
fi
exec ${keyman} ssh check ${context}
`
}

/** What `Match exec` runs for a name that is not listed: it never decides anything, and says nothing where nobody is signed in. */
export const refreshScript = ({ keyman, organisation }: { keyman: string; organisation: string }): string => `#!/bin/sh
# Made by keyman: ssh runs this for one of our names that it does not know, because a grant may be new.
exec ${word(keyman)} ssh renew --new-host --context '${organisation}' </dev/null >/dev/null
`

function keyTest(key: Parameters<typeof checkScript>[0]['key']): string {
  if ('file' in key) return `[ -r ${word(key.file)} ]`
  const socket = word(key.agent)
  // Listed, not tried: an agent that is locked, or another one at its place, has it no more.
  return `{ [ -S ${socket} ] && case $(SSH_AUTH_SOCK=${socket} ssh-add -L 2>/dev/null </dev/null) in *${word(key.publicKey)}*) ;; *) false ;; esac; }`
}

/** A path of this machine as one word of a shell's script, whatever it is made of: people keep programs in folders with blanks. */
const word = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
