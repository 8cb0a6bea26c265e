import { z } from 'zod'
import { allRoutes, problem } from '#shared/api/index.ts'

/** The OpenAPI 3.1 document, made from the schemas of `shared/api`; its schemas are JSON Schema 2020-12, as 3.1 says. */
export function openApiDocument(server: { version: string; machinesUrl: string; pagesUrl: string }): unknown {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of allRoutes) {
    const parameters = [
      ...[...route.path.matchAll(/\{(\w+)\}/g)].map(match => ({
        name: match[1],
        in: 'path',
        required: true,
        schema: { type: 'string' },
      })),
      ...queryParameters(route.query),
      ...(route.action ? [TOUCH] : []),
    ]
    const operations = paths[route.path] ?? {}
    paths[route.path] = operations
    operations[route.method.toLowerCase()] = {
      operationId: route.id,
      summary: route.summary,
      security: security(route.caller),
      ...(route.action ? { 'x-keyman-action': route.action } : {}),
      'x-keyman-listeners': route.listeners,
      ...(parameters.length > 0 ? { parameters } : {}),
      ...(route.body ? { requestBody: { required: true, content: json(route.body, 'input') } } : {}),
      responses: {
        [route.status ?? 200]: {
          description: 'Done',
          ...(route.answer ? { content: json(route.answer, 'output') } : {}),
        },
        default: {
          description: 'Refused; a problem document (RFC 9457)',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
    }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'KeyMan', version: server.version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    servers: [
      { url: server.machinesUrl, description: 'machines: TLS with client certificates' },
      { url: server.pagesUrl, description: 'pages: what browsers open' },
    ],
    paths,
    components: {
      securitySchemes: {
        clientCertificate: { type: 'mutualTLS' },
        cookie: { type: 'apiKey', in: 'cookie', name: '__Host-keyman' },
      },
      schemas: { Problem: jsonSchema(problem, 'output') },
    },
  }
}

/** What was confirmed for this very request: without it the refusal names what to confirm, and where. */
const TOUCH = {
  name: 'keyman-touch',
  in: 'header',
  required: false,
  description: 'The transaction that a passkey has confirmed for this very request',
  schema: { type: 'string' },
}

const json = (schema: z.ZodType, io: 'input' | 'output') => ({ 'application/json': { schema: jsonSchema(schema, io) } })

function jsonSchema(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return rest
}

function queryParameters(schema: z.ZodType | undefined) {
  if (!(schema instanceof z.ZodObject)) return []
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => ({
    name,
    in: 'query',
    required: !field.safeParse(undefined).success,
    schema: jsonSchema(field, 'input'),
  }))
}

function security(caller: string) {
  if (caller === 'anyone') return []
  if (caller === 'browser') return [{ cookie: [] }]
  return caller === 'person' ? [{ clientCertificate: [] }, { cookie: [] }] : [{ clientCertificate: [] }]
}
