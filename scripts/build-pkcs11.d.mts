export function buildPkcs11(root?: string): { built: boolean; message: string }
