import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ERRORS } from '#shared/errors.ts'
import { EXIT, EXIT_MEANINGS } from '#shared/exit-codes.ts'

const root = join(import.meta.dirname, '..')

describe('the documents', () => {
  it('docs/errors.md is made from the tables in the code (vitest -u makes it anew)', async () => {
    await expect(errorsPage()).toMatchFileSnapshot(join(root, 'docs', 'errors.md'))
  })
  it('no link to a file leads nowhere', () => {
    for (const page of pages()) {
      const text = readFileSync(page, 'utf8')
      for (const [, target = ''] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g))
        expect(existsSync(join(dirname(page), target)), `${page} links to ${target}`).toBe(true)
    }
  })
  it('each page by task answers what for, the commands, how to check and how to undo', () => {
    for (const task of ['login', 'hosts', 'access', 'workloads', 'audit', 'trust', 'server']) {
      const text = readFileSync(join(root, 'docs', `${task}.md`), 'utf8')
      for (const part of ['**What for.**', '## The commands', '## How to check that it worked', '## How to undo it'])
        expect(text, `docs/${task}.md`).toContain(part)
    }
  })
})

const pages = (): string[] => [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md'].map(name => join(root, name)),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.md'))
    .map(name => join(root, 'docs', name)),
]

function errorsPage(): string {
  const errors = Object.entries(ERRORS).map(
    ([code, { status, exit, title }]) => `| \`${code}\` | ${title} | ${status} | ${exit} |`,
  )
  const exits = Object.entries(EXIT).map(([name, code]) => `| ${code} | ${EXIT_MEANINGS[name as keyof typeof EXIT]} |`)
  return `# Errors and exit codes

The API refuses with a problem document (RFC 9457); its \`type\` is \`/errors/\` and the code. The programs print two lines to
stderr, \`error:\` and \`hint:\`, and exit with the code's number. This page is made from the code.

| code | meaning | HTTP status | exit code |
|---|---|---|---|
${errors.join('\n')}

## Exit codes

| code | meaning |
|---|---|
${exits.join('\n')}
`
}
