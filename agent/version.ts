/** Sent in the hello, so that an operator sees which agents are old. */
export const AGENT_VERSION = 'keyman-agent 0.1.0'
