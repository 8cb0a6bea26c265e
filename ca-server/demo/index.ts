/** The demo host of `npm start`: a real sshd on loopback, kept by a real agent. */
export { type FoundSshd, findSshd, SSHD_PLACES } from './find-sshd.ts'
export { DEMO_HOST, type DemoHost, type DemoOptions, startDemoHost } from './start-demo-host.ts'
