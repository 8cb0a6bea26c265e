export function unpackPackages(
  target: string,
  what: { readonly packages: readonly string[]; readonly program: string },
  say: (line: string) => void,
): Promise<void>
export function libraryPath(root: string): string | undefined
