export const OLDEST_NODE: number
export const NODE_PACKAGES: Readonly<Record<string, string>>
export function findNode(root: string): string
