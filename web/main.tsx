import { render } from 'preact'
import { Confirm } from './confirm.tsx'
import { Enrol } from './enrol.tsx'
import { DeviceLogin, Login } from './login.tsx'
import { Card } from './parts.tsx'
import { Passkeys } from './passkeys.tsx'
import { strings } from './strings.ts'

/** The pages: every address is served the same document, and this picks what it shows. */
function page(path: string) {
  const [, first = '', second = ''] = path.split('/')
  if (first === '') return <Passkeys />
  if (first === 'enrol') return <Enrol />
  if (first === 'device') return <DeviceLogin />
  if (first === 'login' && second) return <Login transaction={second} />
  if (first === 'confirm' && second) return <Confirm transaction={second} />
  return (
    <Card title={strings.notFound}>
      <p>
        <a href="/">{strings.home}</a>
      </p>
    </Card>
  )
}

const root = document.getElementById('app')
if (root) {
  root.replaceChildren()
  render(page(location.pathname), root)
}
