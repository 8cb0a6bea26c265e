import { usage } from './command.ts'
import { askText, canAsk, printError, remark } from './terminal.ts'

/**
 * What destroys asks for the name of the thing; where nobody can be asked it wants `--yes`. `consequence`: what else ends with
 * it, said before the question. False where the name was not typed: that is said then, and the command has failed.
 */
export async function confirmRemoval(name: string, yes: boolean | undefined, consequence?: string): Promise<boolean> {
  if (yes) return true
  if (!canAsk()) throw usage(`nobody can be asked whether ${name} is meant`, 'add --yes')
  if (consequence !== undefined) remark(consequence)
  if ((await askText(`Type ${name} to go on: `)).trim() === name) return true
  printError(`${name} was not typed; nothing was changed`, 'run the command again, or add --yes')
  return false
}
