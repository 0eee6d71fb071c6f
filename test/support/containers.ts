import { GenericContainer, Wait } from 'testcontainers'
import { cleanUp } from './cleanup.ts'
import { images } from './docker.ts'

/**
 * One more source of servers: a PostgreSQL in a container of its own, ready to be followed, and gone at the end of the
 * test. Returns the URI of its database `app`, for the superuser `postgres`.
 */
export async function postgresContainer(): Promise<string> {
  // Its reaper is an image to pull; the tests clean up themselves.
  process.env.TESTCONTAINERS_RYUK_DISABLED = 'true'
  const container = await new GenericContainer(images.postgres)
    .withCommand(['postgres', '-c', 'wal_level=logical'])
    .withEnvironment({ POSTGRES_DB: 'app', POSTGRES_PASSWORD: 'secret' })
    .withExposedPorts(5432)
    .withHealthCheck({
      test: ['CMD', 'pg_isready', '-h', '127.0.0.1', '-U', 'postgres', '-d', 'app'],
      interval: 500,
      timeout: 5_000,
      retries: 100,
    })
    .withWaitStrategy(Wait.forHealthCheck())
    .withStartupTimeout(120_000)
    .start()
  cleanUp(() => container.stop({ timeout: 0 }))
  return `postgres://postgres:secret@${container.getHost()}:${container.getMappedPort(5432)}/app`
}
