import { isLabelKey, isLabelValue, type Labels, printable } from '#shared/names.ts'
import { usage } from '../terminal/command.ts'

/** `--label k=v`, repeatable, to labels. */
export function parseLabels(texts: readonly string[] = []): Labels {
  const labels: Record<string, string> = {}
  for (const text of texts) {
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/.exec(text) ?? []
    if (!isLabelKey(key) || !isLabelValue(value)) throw usage(`${printable(text)} is not a label such as env=demo`)
    if (Object.hasOwn(labels, key)) throw usage(`the label ${key} is given twice`)
    labels[key] = value
  }
  return labels
}
