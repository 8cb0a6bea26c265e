import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'

const root = dirname(import.meta.dirname)
const read = (name: string): unknown => JSON.parse(readFileSync(join(root, name), 'utf8'))
const dependencies = z.record(z.string(), z.string())
const project = z.object({ dependencies, optionalDependencies: dependencies, devDependencies: dependencies })
const entry = z.object({
  name: z.string().optional(),
  license: z.string().optional(),
  resolved: z.string().optional(),
  integrity: z.string().optional(),
  hasInstallScript: z.boolean().optional(),
})
const wanted = project.parse(read('package.json'))
const { packages } = z.object({ packages: z.record(z.string(), entry) }).parse(read('package-lock.json'))
const locked = Object.entries(packages)
  .filter(([path]) => path !== '')
  .map(([path, found]) => ({
    ...found,
    path,
    name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
  }))

describe('the lockfile', () => {
  it('pins each package by its digest, and names no registry', () => {
    expect(locked.filter(({ integrity }) => !integrity?.startsWith('sha512-'))).toEqual([])
    expect(locked.filter(({ resolved }) => resolved !== undefined)).toEqual([])
  })

  it('agrees with package.json, where versions are exact', () => {
    const direct = { ...wanted.dependencies, ...wanted.optionalDependencies, ...wanted.devDependencies }
    expect(Object.entries(direct).filter(([, version]) => !/^[0-9]+\.[0-9]+\.[0-9]+$/.test(version))).toEqual([])
  })

  it('runs no code of a package at installation, and knows which ones would like to', () => {
    expect(readFileSync(join(root, '.npmrc'), 'utf8')).toContain('ignore-scripts=true')
    const scripts = locked.filter(({ hasInstallScript }) => hasInstallScript).map(({ name }) => name)
    expect(scripts.filter(name => !['pkcs11js', 'esbuild', 'fsevents'].includes(name))).toEqual([])
  })

  // Signature and chain checks of its own making, with a long list of advisories; Node's crypto does what we need.
  it('holds no node-forge', () => {
    expect(locked.filter(({ name }) => name === 'node-forge')).toEqual([])
  })

  it('brings to production only packages under a permissive licence', () => {
    const shipped = Object.keys({ ...wanted.dependencies, ...wanted.optionalDependencies })
    const licences = shipped.map(name => [name, packages[`node_modules/${name}`]?.license ?? 'none'])
    expect(licences.filter(([, licence]) => !/^(MIT|Apache-2\.0|BSD-[23]-Clause|ISC)$/.test(licence ?? ''))).toEqual([])
  })
})
