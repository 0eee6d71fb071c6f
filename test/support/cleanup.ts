import { afterAll, onTestFinished } from 'vitest'

type Cleanup = () => Promise<unknown> | unknown

const ofTheFile: Cleanup[] = []

/** Runs at the end of the test that calls it or, called from a hook, at the end of the file; the last one first. */
export function cleanUp(cleanup: Cleanup): void {
  try {
    onTestFinished(async () => {
      await cleanup()
    })
  } catch {
    ofTheFile.push(cleanup)
  }
}

afterAll(async () => {
  const failures: unknown[] = []
  for (const cleanup of ofTheFile.splice(0).reverse())
    try {
      await cleanup()
    } catch (error) {
      failures.push(error)
    }
  if (failures.length > 0) throw new AggregateError(failures, 'cleaning up after the file failed')
})
