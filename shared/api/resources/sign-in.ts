import { z } from 'zod'
import { webauthnJson } from '../fields.ts'
import { route } from '../route.ts'
import { sessionAnswer } from './sessions.ts'

/** Signing in to the page itself (a browser session); not needed for a machine's login. */
export const signIn = {
  show: route({
    method: 'GET',
    path: '/v1/sign-in',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'page.sign-in',
    summary: 'Whether this browser is signed in',
    answer: z.object({ isSignedIn: z.boolean() }),
  }),
  options: route({
    method: 'POST',
    path: '/v1/sign-in/options',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'page.sign-in',
    summary: 'WebAuthn request options for signing in to the pages',
    answer: z.object({ options: webauthnJson }),
  }),
  complete: route({
    method: 'POST',
    path: '/v1/sign-in',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'page.sign-in',
    summary: 'Sign in to the pages with a passkey',
    body: z.strictObject({ assertion: webauthnJson }),
    answer: sessionAnswer,
  }),
}
