import { useState } from 'preact/hooks'
import type { z } from 'zod'
import type { schemas } from '#shared/api/index.ts'
import { call, Refusal } from './client.ts'
import { Button, Card, Loading, Problem, Time, useAction, useFocus, useLoaded } from './parts.tsx'
import { createPasskey, usePasskey } from './passkey.ts'
import { strings } from './strings.ts'

type Passkey = z.infer<typeof schemas.passkey>
type Signed = { person: string; passkeys: Passkey[] }

async function load(): Promise<Signed | 'nobody'> {
  // Asked without a refusal: browsers write each one into the console, as if something were wrong.
  if (!(await call('signIn', 'show')).isSignedIn) return 'nobody'
  const { person } = await call('session', 'show')
  return { person, ...(await call('passkeys', 'list')) }
}

/** Does something that wants a touch: where the server says so, the passkey is asked for at once and it is sent again with it. */
async function touched<T>(work: (touch?: string) => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Refusal) || !error.transaction) throw error
    const { id } = error.transaction
    const { options } = await call('actions', 'options', { transaction: id })
    await call('actions', 'confirm', { transaction: id }, { assertion: await usePasskey(options) })
    return work(id)
  }
}

/** `/`: one's own passkeys. */
export function Passkeys() {
  const { value, refusal, reload } = useLoaded(load)
  const { busy, refusal: failed, run } = useAction()

  if (!value)
    return (
      <Card title={strings.myPasskeys}>
        <Loading refusal={refusal} />
      </Card>
    )
  if (value === 'nobody') {
    const signIn = () =>
      run(async () => {
        const { options } = await call('signIn', 'options')
        await call('signIn', 'complete', {}, { assertion: await usePasskey(options) })
        reload()
      })
    return (
      <Card title={strings.signInTitle}>
        <p>{strings.signInText}</p>
        <Problem refusal={failed} />
        <Button onClick={signIn} busy={busy}>
          {strings.signIn}
        </Button>
      </Card>
    )
  }

  const add = (event: SubmitEvent) => {
    event.preventDefault()
    const form = event.currentTarget as HTMLFormElement
    const name = String(new FormData(form).get('name')).trim()
    run(async () => {
      const { options } = await call('passkeys', 'addOptions')
      const body = { name, registration: await createPasskey(options) }
      await touched(touch => call('passkeys', 'add', {}, body, touch))
      reload()
    })
  }
  const signOut = () =>
    run(async () => {
      await call('session', 'end')
      reload()
    })
  return (
    <Card title={strings.myPasskeys}>
      <p>
        {strings.signedInAs} <strong>{value.person}</strong>
      </p>
      {value.passkeys.length === 1 && <p class="note">{strings.secondPasskey}</p>}
      <ul class="passkeys">
        {value.passkeys.map(passkey => (
          <Row
            key={passkey.id}
            passkey={passkey}
            only={value.passkeys.length === 1}
            busy={busy}
            run={run}
            reload={reload}
          />
        ))}
      </ul>
      <Problem refusal={failed} />
      <form onSubmit={add}>
        <label for="name">{strings.newName}</label>
        <input id="name" name="name" required maxLength={80} defaultValue={strings.anotherPasskey} />
        <div class="buttons">
          <Button submit busy={busy}>
            {strings.addPasskey}
          </Button>
          <Button kind="second" onClick={signOut} busy={busy}>
            {strings.signOut}
          </Button>
        </div>
      </form>
    </Card>
  )
}

type RowProps = {
  passkey: Passkey
  only: boolean
  busy: boolean
  run: (work: () => Promise<void>) => void
  reload: () => void
}

function NewName({ name }: { name: string }) {
  const input = useFocus<HTMLInputElement>()
  return <input ref={input} name="name" aria-label={strings.newName} defaultValue={name} required maxLength={80} />
}

function Row({ passkey, only, busy, run, reload }: RowProps) {
  const [mode, setMode] = useState<'show' | 'rename' | 'remove'>('show')
  /** Whose button has the focus once more when it is shown again. */
  const [left, setLeft] = useState<'rename' | 'remove'>()
  const open = (what: 'rename' | 'remove') => {
    setLeft(what)
    setMode(what)
  }
  const close = () => setMode('show')
  const rename = (event: SubmitEvent) => {
    event.preventDefault()
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get('name')).trim()
    run(async () => {
      await touched(touch => call('passkeys', 'rename', { id: passkey.id }, { name }, touch))
      close()
      reload()
    })
  }
  const remove = () =>
    run(async () => {
      await touched(touch => call('passkeys', 'remove', { id: passkey.id }, undefined, touch))
      // The row goes, and with it what has the focus.
      document.querySelector('h1')?.focus()
      reload()
    })
  return (
    <li>
      {mode === 'rename' ? (
        <form onSubmit={rename} class="inline">
          <NewName name={passkey.name} />
          <Button submit busy={busy}>
            {strings.save}
          </Button>
          <Button kind="second" onClick={close}>
            {strings.cancel}
          </Button>
        </form>
      ) : (
        <>
          <div>
            <strong>{passkey.name}</strong>
            {passkey.synced && <span class="tag">{strings.synced}</span>}
            <small>
              {strings.created} <Time value={passkey.createdAt} /> · {strings.lastUsed}{' '}
              {passkey.lastUsedAt ? <Time value={passkey.lastUsedAt} /> : strings.never}
            </small>
          </div>
          {mode === 'remove' ? (
            <div class="sure">
              <p>{strings.removeSure(passkey.name)}</p>
              <Button kind="danger" onClick={remove} busy={busy}>
                {strings.remove}
              </Button>
              <Button kind="second" onClick={close} focus>
                {strings.cancel}
              </Button>
            </div>
          ) : (
            <div class="small">
              <Button
                kind="link"
                onClick={() => open('rename')}
                label={`${strings.rename} ${passkey.name}`}
                focus={left === 'rename'}
              >
                {strings.rename}
              </Button>
              {!only && (
                <Button
                  kind="link"
                  onClick={() => open('remove')}
                  label={`${strings.remove} ${passkey.name}`}
                  focus={left === 'remove'}
                >
                  {strings.remove}
                </Button>
              )}
            </div>
          )}
        </>
      )}
    </li>
  )
}
