/**
 * Imported first by whatever writes into `dist/`: programs that somebody starts lie there, so whatever umask a shell or a
 * container came with, nobody else may write what is made from here on.
 */
process.umask(process.umask() | 0o022)
