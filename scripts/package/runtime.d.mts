export type Runtime = {
  platform: string
  package: string
  version: string
  file: string
  folder: string
  sha256: string
}
export function findRuntime(where: {
  root: string
  platform: string
  nodes?: string
  scratch: string
}): Runtime | undefined
