import { useState } from 'preact/hooks'
import { call } from './client.ts'
import { Button, Card, Fact, Facts, Fingerprint, Loading, Problem, useAction, useLoaded } from './parts.tsx'
import { usePasskey } from './passkey.ts'
import { strings } from './strings.ts'

/** `/confirm/TRANSACTION`: a touch of a passkey for one request of one session and client key. */
export function Confirm({ transaction }: { transaction: string }) {
  const params = { transaction }
  const { value: asked, refusal } = useLoaded(() => call('actions', 'show', params))
  const [state, setState] = useState<string>()
  const action = useAction()

  if (!asked)
    return (
      <Card title={strings.confirmTitle}>
        <Loading refusal={refusal} />
      </Card>
    )
  const now = state ?? asked.state
  if (now !== 'waiting')
    return (
      <Card title={now === 'refused' ? strings.refused : strings.confirmed}>
        <p>{now === 'refused' ? strings.refusedText : strings.confirmedText}</p>
      </Card>
    )
  const confirm = () =>
    action.run(async () => {
      const { options } = await call('actions', 'options', params)
      const answer = await call('actions', 'confirm', params, { assertion: await usePasskey(options) })
      setState(answer.state)
    })
  const refuse = () => action.run(async () => setState((await call('actions', 'refuse', params)).state))
  return (
    <Card title={strings.confirmTitle}>
      <p>{strings.loginWarning}</p>
      <Facts>
        <Fact name={strings.action}>{asked.action}</Fact>
        {asked.shown.map(({ name, value }, i) => (
          <Fact key={i} name={name}>
            {value}
          </Fact>
        ))}
      </Facts>
      <p>{strings.askedBy}</p>
      <Facts>
        <Fact name={strings.person}>{asked.person}</Fact>
        <Fact name={strings.address}>{asked.from}</Fact>
        <Fact name={strings.device}>
          <q>{asked.device}</q>
        </Fact>
        <Fact name={strings.clientKey}>
          <Fingerprint value={asked.clientFingerprint} />
        </Fact>
      </Facts>
      <p>{strings.compareClient}</p>
      <Problem refusal={action.refusal} />
      <div class="buttons">
        <Button onClick={confirm} busy={action.busy}>
          {strings.confirm}
        </Button>
        <Button kind="second" onClick={refuse} busy={action.busy}>
          {strings.refuse}
        </Button>
      </div>
    </Card>
  )
}
