/**
 * For the launchers: something changed in the clone since the programs were built, which may be nothing but a `git status`. Builds
 * them anew where their sources are others; where that can't be done it says so, and the old ones go on.
 */
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import { isBuilt } from './build.mjs'
import { root, say, setUp } from './setup.mjs'

try {
  if (!isBuilt()) await setUp()
  const now = new Date()
  utimesSync(join(root, 'dist', '.built'), now, now)
} catch (error) {
  // Somebody else's clone, which is up to date, is looked at each time: that costs a tenth of a second.
  if (!isBuilt())
    say(
      `the sources are newer than the programs in dist/, which go on as they are, since they can't be built: ${error.message}`,
    )
}
