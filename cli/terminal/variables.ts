/** Variables that stand for flags, where a job would set them once. Flags win. `keyman config show` lists them with where each value came from. */
export const COMMON_VARIABLES = { context: 'KEYMAN_CONTEXT', json: 'KEYMAN_JSON' } as const

export const LOGIN_VARIABLES = {
  fingerprint: 'KEYMAN_FINGERPRINT',
  for: 'KEYMAN_FOR',
  device: 'KEYMAN_DEVICE',
  'key-file': 'KEYMAN_KEY_FILE',
  'no-browser': 'KEYMAN_NO_BROWSER',
  'ssh-config': 'KEYMAN_SSH_CONFIG',
  yes: 'KEYMAN_YES',
} as const

/** Read where no flag is: the program that opens a page, the agent that keys are put into, another launcher of this program, stack traces. */
export const OTHER_VARIABLES = ['KEYMAN_BROWSER', 'KEYMAN_SSH_AGENT', 'KEYMAN_PROGRAM', 'KEYMAN_DEBUG'] as const
