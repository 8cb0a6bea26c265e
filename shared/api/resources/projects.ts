import { z } from 'zod'
import { eachOnce, hostName, id, place, segment, time, workloadName } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'

const machines = ['machines'] as const

export const project = z.object({
  name: place,
  /** As they are named elsewhere: `payments/prod`. */
  environments: z.array(place),
  createdAt: time,
})

export const newProject = z.strictObject({
  name: named('Project', segment),
  environments: named(
    'With the environments',
    eachOnce(z.array(segment).max(32), 'must name each environment once').default([]),
  ),
})

/** What is in it, that who asks may read. */
export const projectContents = z.object({
  ...project.shape,
  hosts: z.array(z.object({ name: hostName, in: place })),
  workloads: z.array(workloadName),
  grants: z.array(id),
})

const ofProject = z.object({ project: segment })

export const projects = {
  list: route({
    method: 'GET',
    path: '/v1/projects',
    listeners: machines,
    caller: 'person',
    action: 'project.read',
    summary: 'Projects and their environments',
    answer: z.object({ projects: z.array(project) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/projects/{project}',
    params: ofProject,
    listeners: machines,
    caller: 'person',
    action: 'project.read',
    summary: 'One project, and what is in it',
    answer: projectContents,
  }),
  add: route({
    method: 'POST',
    path: '/v1/projects',
    listeners: machines,
    caller: 'person',
    action: 'project.add',
    touch: true,
    mandated: true,
    status: 201,
    summary: 'Make a project, or environments of one that is there',
    body: newProject,
    answer: project,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/projects/{project}',
    params: ofProject,
    listeners: machines,
    caller: 'person',
    action: 'project.remove',
    touch: true,
    mandated: true,
    status: 204,
    summary: 'Take a project away in which nothing is left',
  }),
  removeEnvironment: route({
    method: 'DELETE',
    path: '/v1/projects/{project}/environments/{environment}',
    params: z.object({ project: segment, environment: segment }),
    listeners: machines,
    caller: 'person',
    action: 'project.remove',
    touch: true,
    mandated: true,
    status: 204,
    summary: 'Take an environment away in which nothing is left',
  }),
}
