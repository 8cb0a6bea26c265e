import { useState } from 'preact/hooks'
import type { z } from 'zod'
import type { schemas } from '#shared/api/index.ts'
import { call, Refusal } from './client.ts'
import { duration, organisationName } from './format.ts'
import { Button, Card, Fact, Facts, Fingerprint, Loading, Problem, useAction, useLoaded } from './parts.tsx'
import { usePasskey } from './passkey.ts'
import { strings } from './strings.ts'

type Transaction = z.infer<typeof schemas.loginTransaction>

/** `/login/TRANSACTION`: where the terminal sends the browser. */
export function Login({ transaction }: { transaction: string }) {
  const { value, refusal } = useLoaded(() => call('login', 'show', { transaction }))
  if (value) return <Consent login={value} />
  return (
    <Card title={strings.codeTitle}>
      <Loading refusal={refusal} />
    </Card>
  )
}

/** `/device`: the person types the code that their own terminal shows; a link never holds it, so that nobody can send one. */
export function DeviceLogin() {
  const [found, setFound] = useState<Transaction>()
  const { busy, refusal, run } = useAction()
  if (found) return <Consent login={found} />

  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    const form = event.currentTarget as HTMLFormElement
    const userCode = String(new FormData(form).get('code'))
    const input = form.elements.namedItem('code')
    run(async () => {
      try {
        setFound(await call('login', 'find', {}, { userCode }))
      } catch (error) {
        // Marked whole, to be typed over or mended.
        if (input instanceof HTMLInputElement) input.select()
        throw error
      }
    })
  }
  return (
    <Card title={strings.codeTitle}>
      <p>{strings.codeText}</p>
      <form onSubmit={submit}>
        <label for="code">{strings.code}</label>
        <input
          id="code"
          name="code"
          class="code"
          required
          maxLength={20}
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
        />
        <Problem refusal={refusal} />
        <Button submit busy={busy}>
          {strings.codeContinue}
        </Button>
      </form>
    </Card>
  )
}

type Outcome = { kind: 'allowed'; person: string } | { kind: 'back' } | { kind: 'refused'; why?: string }

/** No touch of any passkey changes it: the terminal has to hear of it. Another passkey may do where this one is not known. */
const isForGood = (error: unknown): error is Refusal =>
  error instanceof Refusal && error.code === 'denied' && error.message.endsWith(' is disabled')

/** What is asked for, in full, and the two answers. The assertion's challenge binds exactly what stands here. */
function Consent({ login }: { login: Transaction }) {
  const { busy, refusal, run } = useAction()
  const [outcome, setOutcome] = useState<Outcome>()
  const params = { transaction: login.transaction }

  // By fetch and then a move of the page: a form's redirect to 127.0.0.1 would fall under `form-action`.
  const leave = (redirectTo: string | undefined, otherwise: Outcome) => {
    setOutcome(redirectTo ? { kind: 'back' } : otherwise)
    if (redirectTo) location.assign(redirectTo)
  }
  const end = async (why?: string) => {
    const { redirectTo } = await call('login', 'refuse', params)
    // RFC 6749 section 4.1.2.1: what the server answers with tells the terminal that, and this tells it why.
    const reason = why === undefined ? '' : `&${new URLSearchParams({ error_description: why })}`
    leave(redirectTo && redirectTo + reason, why === undefined ? { kind: 'refused' } : { kind: 'refused', why })
  }
  const allow = () =>
    run(async () => {
      const { options } = await call('login', 'consentOptions', params)
      try {
        const answer = await call('login', 'consent', params, { assertion: await usePasskey(options) })
        leave(answer.redirectTo, { kind: 'allowed', person: answer.person })
      } catch (error) {
        if (!isForGood(error)) throw error
        await end(error.message)
      }
    })
  const refuse = () => run(end)

  if (outcome?.kind === 'back')
    return (
      <Card title={strings.done}>
        <p>{strings.goingBack}</p>
      </Card>
    )
  if (outcome?.kind === 'allowed')
    return (
      <Card title={strings.allowed}>
        <p>{strings.allowedDevice(outcome.person)}</p>
      </Card>
    )
  if (outcome?.kind === 'refused')
    return (
      <Card title={strings.refused}>
        {outcome.why && <p>{outcome.why}.</p>}
        <p>{strings.refusedText}</p>
      </Card>
    )
  return (
    <Card title={strings.loginTitle(organisationName(login.organisation))}>
      <p class={login.kind === 'device' ? 'warning' : ''}>
        {login.kind === 'device' ? strings.deviceWarning : strings.loginWarning}
      </p>
      <Facts>
        <Fact name={strings.device}>
          <q>{login.device}</q>
        </Fact>
        <Fact name={strings.address}>{login.from}</Fact>
        <Fact name={strings.lifetime}>{duration(login.lifetime)}</Fact>
        <Fact name={strings.sshKey}>
          <Fingerprint value={login.sshFingerprint} />
        </Fact>
        <Fact name={strings.clientKey}>
          <Fingerprint value={login.clientFingerprint} />
        </Fact>
      </Facts>
      <p>{strings.compare}</p>
      <Problem refusal={refusal} />
      <div class="buttons">
        <Button onClick={allow} busy={busy}>
          {strings.allow}
        </Button>
        <Button kind="second" onClick={refuse} busy={busy}>
          {strings.refuse}
        </Button>
      </div>
    </Card>
  )
}
