import { statSync } from 'node:fs'
import { KeymanError } from '#shared/errors.ts'

/** Whoever can write here can put another database or keystore in the place of ours. (Reading is kept from others file by file.) */
export function checkDataFolder(path: string): void {
  const refuse = (message: string, hint: string) =>
    new KeymanError('unavailable', message, { hint, fields: [{ field: 'data_folder', message }] })
  const { uid, mode } = statSync(path)
  if (uid !== process.geteuid?.() && uid !== 0)
    throw refuse(
      `${path} belongs to another user (uid ${uid})`,
      "chown it to the server's user, or run this as that user",
    )
  if ((mode & 0o022) !== 0)
    throw refuse(`${path} has mode ${(mode & 0o7777).toString(8)}: others may write there`, `chmod 700 ${path}`)
}
