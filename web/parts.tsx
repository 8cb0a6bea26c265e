import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { Refusal } from './client.ts'
import { groups } from './format.ts'
import { strings } from './strings.ts'

/** A step of a page: its heading takes the focus when it appears, so that a screen reader says where one is. */
export function Card({ title, children }: { title: string; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${title} · ${strings.title}`
    heading.current?.focus()
  }, [title])
  return (
    <main class="card">
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {children}
    </main>
  )
}

export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

export function Fingerprint({ value }: { value: string }) {
  return (
    <code class="fingerprint">
      {groups(value).map((group, i) => (
        <span key={i}>{group}</span>
      ))}
    </code>
  )
}

export function Problem({ refusal }: { refusal: Refusal | undefined }) {
  return (
    <div role="alert">
      {refusal && (
        <div class="problem">
          <strong>{refusal.code === 'offline' ? strings.offline : refusal.message}</strong>
          {refusal.hint && <p>{refusal.hint}</p>}
          {refusal.requestId && (
            <p class="quiet">
              {strings.request} <code>{refusal.requestId}</code>
            </p>
          )}
        </div>
      )}
    </div>
  )
}

/** Runs one thing at a time: `busy` while it runs, `refusal` where it failed. */
export function useAction(): {
  busy: boolean
  refusal: Refusal | undefined
  run: (work: () => Promise<void>) => void
} {
  const [busy, setBusy] = useState(false)
  const [refusal, setRefusal] = useState<Refusal>()
  const run = useCallback((work: () => Promise<void>) => {
    setBusy(true)
    setRefusal(undefined)
    work()
      .catch((error: unknown) =>
        setRefusal(
          error instanceof Refusal
            ? error
            : new Refusal({ code: 'internal', detail: strings.internal, hint: strings.internalHint }),
        ),
      )
      .finally(() => setBusy(false))
  }, [])
  return { busy, refusal, run }
}

/** Loads something once when the page appears. */
export function useLoaded<T>(load: () => Promise<T>): {
  value: T | undefined
  refusal: Refusal | undefined
  reload: () => void
} {
  const [value, setValue] = useState<T>()
  const { refusal, run } = useAction()
  const first = useRef(load)
  const reload = useCallback(() => run(async () => setValue(await first.current())), [run])
  useEffect(reload, [reload])
  return { value, refusal, reload }
}

export function Loading({ refusal }: { refusal: Refusal | undefined }) {
  if (refusal) return <Problem refusal={refusal} />
  return <p role="status">{strings.loading}</p>
}
