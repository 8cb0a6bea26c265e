import { useState } from 'preact/hooks'
import { isPersonIdentity } from '#shared/names.ts'
import { call, Refusal } from './client.ts'
import { NAMELESS, organisationName } from './format.ts'
import { Button, Card, Command, Loading, Problem, useAction, useLoaded } from './parts.tsx'
import { createPasskey } from './passkey.ts'
import { strings } from './strings.ts'

type Link = Awaited<ReturnType<typeof open>>
const open = () => call('enrolment', 'open', {}, { secret })

/** Read once and at once taken out of the address bar and the history: the part after `#` never left this browser, and nobody looking on shall read it. */
function takeSecret(): string {
  const secret = location.hash.slice(1)
  if (secret) history.replaceState(null, '', location.pathname)
  return secret
}
const secret = location.pathname === '/enrol' ? takeSecret() : ''

/** `/enrol#SECRET`: the first owner's link, an invitation, that of a person who was reset, or the operator's recovery link. */
export function Enrol() {
  const { value: link, refusal } = useLoaded(async () => {
    if (!secret)
      throw new Refusal({ code: 'invalid-input', detail: strings.linkMissing, hint: strings.linkMissingHint })
    return open()
  })
  const [enrolled, setEnrolled] = useState<{ person: string; waits: boolean }>()
  const action = useAction()

  if (!link)
    return (
      <Card title={strings.linkTitle}>
        <Loading refusal={refusal} />
      </Card>
    )
  if (enrolled?.waits) return <Waits identity={enrolled.person} />
  if (enrolled) return <Next identity={enrolled.person} login={link.login} />

  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget as HTMLFormElement)
    const identity = link.identityFixed ? link.identity : String(form.get('identity')).trim()
    const passkeyName = String(form.get('passkeyName')).trim()
    action.run(async () => {
      if (!isPersonIdentity(identity)) throw new Refusal({ code: 'invalid-input', detail: strings.identityWrong })
      const { options } = await call('enrolment', 'options', {}, { secret, identity })
      const registration = await createPasskey(options)
      const made = await call('enrolment', 'complete', {}, { secret, identity, passkeyName, registration })
      setEnrolled({ person: made.person, waits: made.session === undefined })
    })
  }
  return (
    <Card title={(link.isHere ? strings.resetTitle : strings.enrolTitle)(organisationName(link.organisation))}>
      {whatItGives(link).map(text => (
        <p key={text}>{text}</p>
      ))}
      <form onSubmit={submit}>
        <label for="identity">{strings.identity}</label>
        <input
          id="identity"
          name="identity"
          defaultValue={link.identity}
          readOnly={link.identityFixed}
          required
          maxLength={128}
          autocomplete="username webauthn"
          autocapitalize="none"
          spellcheck={false}
        />
        <label for="passkeyName">{strings.passkeyName}</label>
        <input id="passkeyName" name="passkeyName" defaultValue={strings.passkeyNameDefault} required maxLength={80} />
        <Problem refusal={action.refusal} />
        <Button submit busy={action.busy}>
          {strings.makePasskey}
        </Button>
      </form>
    </Card>
  )
}

/** As the terminal said it to whoever made the link. */
function whatItGives({ kind, first, identity, owner, isHere, waits, organisation }: Link): string[] {
  if (isHere)
    return [
      strings.reset(identity),
      ...(owner ? [strings.resetAdministrator(identity)] : []),
      ...(waits ? [strings.resetWaits] : []),
    ]
  if (first) return [strings.enrolFirst, ...(organisation === NAMELESS ? [strings.namelessOrganisation] : [])]
  if (kind === 'administrator') return [strings.enrolAdministrator]
  return [owner ? strings.enrolInvitedAdministrator : strings.enrolInvitation]
}

function Waits({ identity }: { identity: string }) {
  return (
    <Card title={strings.waitsTitle}>
      <p>{strings.waits}</p>
      <Command text={strings.waitsCommand(identity)} />
    </Card>
  )
}

function Next({ identity, login }: { identity: string; login: string }) {
  return (
    <Card title={strings.enrolled(identity)}>
      <p>{strings.next}</p>
      <Command text={login} />
      <p class="note">{strings.secondPasskey}</p>
      <p>
        <a href="/">{strings.myPasskeys}</a>
      </p>
    </Card>
  )
}
