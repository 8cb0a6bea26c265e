/** What is in the packages of one platform, as CycloneDX 1.6 in JSON: our programs, what was bundled into them, and Node. */
import { Buffer } from 'node:buffer'

/**
 * @param {{
 *   version: string, platform: string, time: number,
 *   components: readonly import('./components.mjs').Component[], runtime: import('./runtime.mjs').Runtime,
 * }} what `time`: seconds since 1970
 * @returns {string}
 */
export function sbom({ version, platform, time, components, runtime }) {
  const self = `pkg:generic/keyman@${version}?platform=${platform}`
  const libraries = components.map(({ name, version, licence, integrity }) => {
    const [group, own] = name.startsWith('@') ? name.split('/') : [undefined, name]
    return {
      type: 'library',
      'bom-ref': purl(name, version),
      ...(group === undefined ? {} : { group }),
      name: own,
      version,
      purl: purl(name, version),
      licenses: [{ expression: licence }],
      // Of the package as the registry has it, which package-lock.json pins.
      hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex') }],
    }
  })
  const node = {
    type: 'application',
    'bom-ref': purl(runtime.package, runtime.version),
    name: runtime.package,
    version: runtime.version,
    description: 'Node.js, built by somebody else: dist/node',
    purl: purl(runtime.package, runtime.version),
    licenses: [{ expression: 'MIT' }],
    // Of dist/node itself.
    hashes: [{ alg: 'SHA-256', content: runtime.sha256 }],
  }
  const all = [...libraries, node]
  const document = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: 'application',
        'bom-ref': self,
        name: 'keyman',
        version,
        purl: self,
        licenses: [{ expression: 'Apache-2.0' }],
      },
    },
    components: all,
    dependencies: [
      { ref: self, dependsOn: all.map(component => component['bom-ref']) },
      ...all.map(component => ({ ref: component['bom-ref'] })),
    ],
  }
  return `${JSON.stringify(document, undefined, 2)}\n`
}

const purl = (name, version) => `pkg:npm/${name.replace('@', '%40')}@${version}`
