import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{shared,ca-server,agent,cli,web,test}/**/*.test.ts'],
    // Each file in a process of its own: PKCS#11 modules and PGlite keep state per process.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // What is awaited comes when it comes; a second is no bound that anybody promised.
    expect: { poll: { timeout: 15_000 } },
  },
})
