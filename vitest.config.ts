import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{shared,ca-server,agent,cli,web,test}/**/*.test.ts'],
    // Each file in a process of its own: PKCS#11 modules and PGlite keep state per process.
    pool: 'forks',
    maxWorkers: 2,
    // PGlite's WebAssembly is compiled in each process anew; optimising it costs more than it gives back before that ends.
    execArgv: ['--liftoff-only'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // What is awaited comes when it comes; a second is no bound that anybody promised.
    expect: { poll: { timeout: 15_000 } },
  },
})
