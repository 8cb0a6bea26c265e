import { KeymanError } from '#shared/errors.ts'
import { usage } from './command.ts'
import { askText, canAsk } from './terminal.ts'

/** What destroys asks for the name of the thing; where nobody can be asked it wants `--yes`. */
export async function confirmRemoval(name: string, yes: boolean | undefined): Promise<void> {
  if (yes) return
  if (!canAsk()) throw usage(`nobody can be asked whether ${name} is meant`, 'add --yes')
  const answer = await askText(`Type ${name} to go on: `)
  if (answer.trim() !== name) throw new KeymanError('denied', 'the name was not typed; nothing was changed')
}
