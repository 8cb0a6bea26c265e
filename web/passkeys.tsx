import { useState } from 'preact/hooks'
import type { z } from 'zod'
import type { loginSchemas } from '#shared/api/index.ts'
import { call, Refusal } from './client.ts'
import { localTime } from './format.ts'
import { Card, Loading, Problem, useAction, useLoaded } from './parts.tsx'
import { createPasskey, usePasskey } from './passkey.ts'
import { strings } from './strings.ts'

type Passkey = z.infer<typeof loginSchemas.passkey>
type Signed = { person: string; passkeys: Passkey[] }

async function load(): Promise<Signed | 'nobody'> {
  try {
    const { person } = await call('session', 'show')
    return { person, ...(await call('passkeys', 'list')) }
  } catch (error) {
    if (error instanceof Refusal && error.code === 'not-signed-in') return 'nobody'
    throw error
  }
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
      <Card title={strings.title}>
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
      <Card title={strings.title}>
        <p>{strings.signInText}</p>
        <Problem refusal={failed} />
        <button type="button" onClick={signIn} disabled={busy}>
          {strings.signIn}
        </button>
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
        <input id="name" name="name" required maxLength={80} value={strings.anotherPasskey} />
        <div class="buttons">
          <button type="submit" disabled={busy}>
            {strings.addPasskey}
          </button>
          <button type="button" class="second" onClick={signOut} disabled={busy}>
            {strings.signOut}
          </button>
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

function Row({ passkey, only, busy, run, reload }: RowProps) {
  const [mode, setMode] = useState<'show' | 'rename' | 'remove'>('show')
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
      close()
      reload()
    })
  return (
    <li>
      {mode === 'rename' ? (
        <form onSubmit={rename} class="inline">
          <input name="name" aria-label={strings.newName} value={passkey.name} required maxLength={80} />
          <button type="submit" disabled={busy}>
            {strings.save}
          </button>
          <button type="button" class="second" onClick={close}>
            {strings.cancel}
          </button>
        </form>
      ) : (
        <>
          <div>
            <strong>{passkey.name}</strong>
            {passkey.synced && <span class="tag">{strings.synced}</span>}
            <small>
              {strings.created} {localTime(passkey.createdAt)} · {strings.lastUsed}{' '}
              {passkey.lastUsedAt ? localTime(passkey.lastUsedAt) : strings.never}
            </small>
          </div>
          {mode === 'remove' ? (
            <div class="sure">
              <p>{strings.removeSure(passkey.name)}</p>
              <button type="button" class="danger" onClick={remove} disabled={busy}>
                {strings.remove}
              </button>
              <button type="button" class="second" onClick={close}>
                {strings.cancel}
              </button>
            </div>
          ) : (
            <div class="small">
              <button
                type="button"
                class="link"
                onClick={() => setMode('rename')}
                aria-label={`${strings.rename} ${passkey.name}`}
              >
                {strings.rename}
              </button>
              {!only && (
                <button
                  type="button"
                  class="link"
                  onClick={() => setMode('remove')}
                  aria-label={`${strings.remove} ${passkey.name}`}
                >
                  {strings.remove}
                </button>
              )}
            </div>
          )}
        </>
      )}
    </li>
  )
}
