import { expect, onTestFinished, test } from 'vitest'
import { isFollowed, lockKey } from '../src/provision/lock.ts'
import { databases } from './support/servers.ts'
import { client } from './support/sql.ts'

test('a follower that is between two sessions is running', async () => {
  const { downstream, name } = await databases()
  const [looks, holds] = [await client(downstream), await client(downstream)]
  onTestFinished(async () => void (await Promise.all([looks.end(), holds.end()])))
  const asked = isFollowed(looks, name)
  // The first look is over.
  await looks.query('SELECT 1')
  await holds.query('SELECT pg_advisory_lock($1)', [lockKey(name)])
  expect(await asked).toBe(true)
  await holds.query('SELECT pg_advisory_unlock_all()')
  expect(await isFollowed(looks, name)).toBe(false)
})
