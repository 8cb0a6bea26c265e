import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * A folder for a database that nobody pulls the plug of: `npm test` has one in memory, since a test with thousands of commits waits for the disk
 * half of its time. What is about durability, and every server that is a process of its own, takes a folder on the disk.
 */
export const fastFolder = (prefix: string): string =>
  mkdtempSync(join(process.env.KEYMAN_TEST_FOLDER ?? tmpdir(), prefix))
