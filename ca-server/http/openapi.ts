import { z } from 'zod'
import { ACTIONS, allRoutes, type Listener, problem, type Route, wordsOf } from '#shared/api/index.ts'

type Server = { readonly version: string; readonly machinesUrl: string; readonly pagesUrl: string }

/** The OpenAPI 3.1 document, made from the schemas of `shared/api`; its schemas are JSON Schema 2020-12, as 3.1 says. */
export function openApiDocument(server: Server): unknown {
  const servers = {
    machines: { url: server.machinesUrl, description: 'machines: TLS with client certificates' },
    pages: { url: server.pagesUrl, description: 'pages: what browsers open' },
  }
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of allRoutes) {
    const operations = paths[route.path] ?? {}
    paths[route.path] = operations
    operations[route.method.toLowerCase()] = {
      operationId: route.id,
      tags: [tagOf(route)],
      summary: route.summary,
      description: description(route),
      servers: route.listeners.map(listener => servers[listener]),
      security: security(route),
      'x-keyman-action': route.action,
      'x-keyman-listeners': route.listeners,
      parameters: [
        ...parameters(route.params, 'path'),
        ...parameters(route.query, 'query'),
        ...(route.touch ? [TOUCH] : []),
        ...(route.method !== 'GET' && route.listeners.includes('pages') ? [origin(route, server)] : []),
      ],
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
    info: {
      title: 'KeyMan',
      version: server.version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: ABOUT,
    },
    servers: [servers.machines, servers.pages],
    tags: [...new Set(allRoutes.map(tagOf))].map(name => ({ name, description: TAGS[name] ?? name })),
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

const ABOUT =
  `Each operation names the listeners that serve it in its \`servers\`. Bodies are JSON, at most 64 kB and 32 levels
deep; no text holds U+0000. A method that an address does not have is refused with 405, and \`Allow\` names those that it has.
What a document can't say (that a signature is right, say) is refused as \`invalid-input\` with the field named.`.replaceAll(
    '\n',
    ' ',
  )

const tagOf = ({ id }: { readonly id: string }): string => id.replace(/\..*/, '')
const TAGS: Readonly<Record<string, string>> = {
  login: "Login of a person's machine",
  session: "The caller's own session",
  sessions: 'Open sessions: which there are, and ending one',
  ssh: 'SSH certificates',
  signIn: 'Signing in to the pages',
  enrolment: 'Single-use links: the first passkey of a person',
  passkeys: "The caller's own passkeys",
  actions: 'Touches of a passkey for one request',
  persons: 'Persons and invitations',
  teams: 'Teams',
  grants: 'Who may log in where, and who has which role',
  roles: 'Roles: those that are built in, and own ones of the organisation',
  projects: 'Projects and their environments',
  access: 'Why somebody gets in to a host, or may do something',
  revocations: 'Ending what was issued',
  mandates: 'Administering without a touch for each change',
  hosts: 'Hosts, for persons with a role',
  hostSelf: 'Hosts, for their own agents',
  workloads: 'Workloads, for persons with a role',
  workloadSelf: 'Workloads, for themselves',
  auditTrail: 'The audit log and its proofs',
  trust: 'The signed trust bundle',
}

const CALLERS = {
  anyone: 'For anyone; limited by address.',
  browser: 'For a browser that is signed in.',
  person: 'For persons who are signed in.',
  host: "For a host's agent.",
  workload: 'For a workload, by its client certificate.',
  session: 'For persons who are signed in, and for workloads.',
}

/** Who may call it and what else it wants, in sentences. */
function description({ caller, action, touch: wanted, mandated }: Route): string {
  const touch = [
    `Wants a touch of a passkey${mandated ? ', or a mandate' : ''}: without it the refusal \`assertion-required\` names`,
    'the transaction to confirm, and the page; then the same request is sent again with `keyman-touch`.',
  ]
  const { by } = ACTIONS[action]
  return [
    CALLERS[caller],
    ...(by === 'role' ? [`Takes a role that gives \`${action}\`.`] : []),
    ...(wanted ? touch : []),
  ].join(' ')
}

/** What was confirmed for this very request: without it the refusal names what to confirm, and where. */
const TOUCH = {
  name: 'keyman-touch',
  in: 'header',
  required: false,
  description:
    'The transaction that a passkey has confirmed for this very request; what is none is refused as `invalid-input`',
  schema: { type: 'string', pattern: '^action_[A-Za-z0-9_-]{10,64}$' },
}

/** See `pageGuard`. */
const origin = ({ listeners }: { readonly listeners: readonly Listener[] }, { pagesUrl }: Server) => ({
  name: 'Origin',
  in: 'header',
  required: !listeners.includes('machines'),
  description:
    "The pages' own origin, as browsers send it; without it the pages' listener refuses with `denied`, and with another one any listener does",
  schema: { type: 'string', const: new URL(pagesUrl).origin },
})

const json = (schema: z.ZodType, io: 'input' | 'output') => ({ 'application/json': { schema: jsonSchema(schema, io) } })

function jsonSchema(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const words = zodSchema instanceof z.ZodType ? wordsOf(zodSchema) : undefined
      if (words) jsonSchema.title = words
    },
  })
  return rest
}

function parameters(schema: z.ZodType | undefined, where: 'path' | 'query') {
  if (!(schema instanceof z.ZodObject)) return []
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => ({
    name,
    in: where,
    required: !field.safeParse(undefined).success,
    schema: jsonSchema(field, 'input'),
  }))
}

function security({ caller, listeners }: Route) {
  if (caller === 'anyone') return []
  return listeners.map(listener => (listener === 'pages' ? { cookie: [] } : { clientCertificate: [] }))
}
