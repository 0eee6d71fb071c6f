import { defineConfig } from 'vitest/config'

const slow = process.env.FOLLOWER_SLOW === '1'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The slower suites run in continuous integration: FOLLOWER_SLOW=1.
    exclude: slow ? [] : ['test/**/*.slow.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    testTimeout: slow ? 120_000 : 60_000,
    hookTimeout: slow ? 120_000 : 60_000,
    // Generous, since it only ends a test that has failed.
    expect: { poll: { timeout: 20_000 } },
    // Every file brings databases and child processes of its own, and waits for them for a third of its time.
    pool: 'forks',
    maxWorkers: 3,
  },
})
