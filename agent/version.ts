/** Sent in the hello, so that an operator sees which agents are old. The build puts the package's version here. */
export const AGENT_VERSION = `keyman-agent ${process.env.KEYMAN_VERSION ?? '0.1.0'}`
