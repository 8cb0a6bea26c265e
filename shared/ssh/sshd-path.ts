/** sshd reads `%`, blanks, quotes and (newer ones) globs in a path: none of these in ours. */
export const isSshdPath = (path: string): boolean => /^\/[A-Za-z0-9._/@+-]+$/.test(path)
export const SSHD_PATH_EXPECTED = 'must be an absolute path of letters, digits and . _ / @ + -'
