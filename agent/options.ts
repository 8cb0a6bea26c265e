/** The flags of `keyman-agent`, as `parseArgs` takes them; a test holds the help against them. */
export const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  'token-file': { type: 'string' },
  'state-folder': { type: 'string' },
  'sshd-folder': { type: 'string' },
  'drop-in': { type: 'string' },
  'sshd-config': { type: 'string' },
  sshd: { type: 'string' },
  'host-key': { type: 'string', multiple: true },
  reload: { type: 'string' },
  'pid-file': { type: 'string' },
  'sshd-log': { type: 'string' },
  again: { type: 'boolean' },
  json: { type: 'boolean' },
} as const
