import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { Refusal } from './client.ts'
import { groups, localTime, sentence } from './format.ts'
import { strings } from './strings.ts'

/** A step of a page: its heading takes the focus when it appears, so that a screen reader says where one is. */
export function Card({ title, children }: { title: string; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = title === strings.title ? title : `${title} · ${strings.title}`
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

/** Of the first groups, which the terminal prints too (`cli/terminal/shown-keys.ts`): they are what is compared. */
const COMPARED = 5

export function Fingerprint({ value }: { value: string }) {
  const all = groups(value)
  const compared = all[0]?.endsWith(':') ? COMPARED + 1 : COMPARED
  return (
    <code class="fingerprint">
      {all.map((group, i) => (
        <span key={i} class={i < compared ? 'compared' : ''}>
          {group}
        </span>
      ))}
    </code>
  )
}

export function Time({ value }: { value: string }) {
  return <time dateTime={value}>{localTime(value)}</time>
}

/** A button that keeps the focus while something runs: one that is disabled loses it. `useAction` runs one thing at a time. */
export function Button({
  busy,
  kind,
  submit,
  onClick,
  label,
  focus,
  children,
}: {
  busy?: boolean
  kind?: 'second' | 'danger' | 'link'
  submit?: boolean
  onClick?: () => void
  label?: string
  /** It takes the focus when it appears: what had it is gone. */
  focus?: boolean
  children: ComponentChildren
}) {
  const button = useFocus<HTMLButtonElement>(focus === true)
  return (
    <button
      ref={button}
      type={submit ? 'submit' : 'button'}
      class={kind}
      aria-disabled={busy ? 'true' : undefined}
      aria-label={label}
      onClick={onClick}
    >
      {children}
    </button>
  )
}

/** The focus goes there when it appears. */
export function useFocus<T extends HTMLElement>(wanted = true) {
  const at = useRef<T>(null)
  useEffect(() => {
    if (wanted) at.current?.focus()
  }, [wanted])
  return at
}

/** What is to be typed in a terminal. */
export function Command({ text }: { text: string }) {
  const [state, setState] = useState<string>(strings.copy)
  const copy = () =>
    // Absent where the page is not secure, which passkeys want as well.
    (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error('no clipboard'))).then(
      () => setState(strings.copied),
      () => setState(strings.notCopied),
    )
  return (
    <div class="command">
      <pre>
        <code>{text}</code>
      </pre>
      <Button kind="second" onClick={copy}>
        <span aria-live="polite">{state}</span>
      </Button>
    </div>
  )
}

export function Problem({ refusal }: { refusal: Refusal | undefined }) {
  return (
    <div role="alert">
      {refusal && (
        <div class="problem">
          <strong>{refusal.code === 'offline' ? strings.offline : sentence(refusal.message)}</strong>
          {refusal.hint && <p>{sentence(refusal.hint)}</p>}
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
  const running = useRef(false)
  const run = useCallback((work: () => Promise<void>) => {
    if (running.current) return
    running.current = true
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
      .finally(() => {
        running.current = false
        setBusy(false)
      })
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
