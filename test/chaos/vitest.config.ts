import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/chaos/chaos.ts'],
    pool: 'forks',
    disableConsoleIntercept: true,
    hookTimeout: 300_000,
  },
})
