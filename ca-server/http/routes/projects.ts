import type { Access } from '#server/access/index.ts'
import { api } from '#shared/api/index.ts'
import { type Place, parsePlace } from '#shared/names.ts'
import { actingOf, byOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

type Params = { readonly params: Readonly<Record<string, string>> }

/** Projects and environments. */
export function projectRoutes({ access }: { readonly access: Pick<Access, 'places' | 'may' | 'takes'> }): Handled[] {
  const { places } = access
  /** An environment is made and taken away by whoever may in the project; the project itself takes a role on the organisation. */
  const projectOf = ({ params }: Params): Place => parsePlace(params.project ?? '', 'project')
  const environmentOf = (request: Params): Place =>
    parsePlace(`${projectOf(request)}/${request.params.environment}`, 'environment')
  return [
    handle(
      api.projects.list,
      async request => {
        const caller = actingOf(request)
        const mayRead = (place: Place) => access.may(caller, { action: 'project.read', in: place })
        const shown = places.list().map(project => ({ ...project, environments: project.environments.filter(mayRead) }))
        return { projects: shown.filter(({ name, environments }) => mayRead(name) || environments.length > 0) }
      },
      { takes: () => [{ action: 'project.read', in: 'anywhere' }] },
    ),
    handle(
      api.projects.show,
      async request => {
        const { project, hosts, grants, workloads } = places.show(projectOf(request))
        return {
          ...project,
          hosts: hosts.flatMap(host => (host.place === undefined ? [] : [{ name: host.name, in: host.place }])),
          workloads: [...workloads],
          grants: grants.map(({ id }) => id),
        }
      },
      { takes: request => [{ action: 'project.read', in: projectOf(request) }] },
    ),
    handle(api.projects.add, request => places.add(request.body, byOf(request)), {
      takes: ({ body }) => access.takes.addingPlaces(body),
    }),
    handle(
      api.projects.remove,
      async request => {
        await places.remove(projectOf(request), byOf(request))
        return undefined
      },
      { takes: () => [{ action: 'project.remove' }], names: (request, on) => places.inWords(on, projectOf(request)) },
    ),
    handle(
      api.projects.removeEnvironment,
      async request => {
        await places.remove(environmentOf(request), byOf(request))
        return undefined
      },
      {
        takes: request => [{ action: 'project.remove', in: projectOf(request) }],
        names: (request, on) => places.inWords(on, environmentOf(request)),
      },
    ),
  ]
}
