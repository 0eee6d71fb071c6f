import { describe, expect, test } from 'vitest'
import { type Look, Order } from './chaos/checker.ts'

/** Commits of two writers, as the upstream's decoder has them; numbers of a writer may be left out by a rollback. */
const commits = [
  [0, 1],
  [1, 1],
  [1, 3],
  [0, 2],
  [1, 4],
] as const

const look = (entries: number, ...highest: number[]): Look => ({ entries, highest })

describe('what a reader saw is a beginning of the order of the commits', () => {
  const check = (...looks: Look[]) => {
    const order = new Order()
    order.add(commits)
    return order.check(looks)
  }

  test('each beginning is right, as often as it is seen', () => {
    expect(
      check(look(0, 0, 0), look(1, 1, 0), look(1, 1, 0), look(3, 1, 3), look(4, 2, 3), look(5, 2, 4)),
    ).toBeUndefined()
  })

  test.each([
    ['a commit before its predecessor', [look(1, 0, 1)]],
    ['a commit left out', [look(1, 1, 0), look(2, 1, 3)]],
    ['one twice', [look(5, 2, 4), look(6, 2, 4)]],
    ['one that was never committed', [look(6, 2, 5)]],
    ['going back', [look(4, 2, 3), look(3, 1, 3)]],
    ['another number for as many entries', [look(3, 2, 1)]],
  ])('%s is noticed', (_, looks) => {
    expect(check(...looks)).toMatch(/entries|commits/)
  })

  test('goes on with commits that are told later', () => {
    const order = new Order()
    order.add(commits.slice(0, 2))
    expect(order.check([look(2, 1, 1)])).toBeUndefined()
    order.add(commits.slice(2))
    expect(order.check([look(3, 1, 3), look(5, 2, 4)])).toBeUndefined()
    expect(order.seen).toBe(5)
    expect(order.check([look(4, 2, 3)])).toContain('after there were 5')
  })

  test('where a crash may lose commits that were not flushed yet, what is left has to be a beginning, too', () => {
    const forgot = (entries: number, ...highest: number[]): Look => ({ entries, highest, mayForget: true })
    const order = new Order()
    order.add(commits)
    expect(order.check([look(4, 2, 3), forgot(2, 1, 1), look(5, 2, 4)])).toBeUndefined()
    expect(order.check([forgot(3, 1, 3), look(2, 1, 1)])).toContain('after there were 3')
    expect(order.check([forgot(3, 2, 1)])).toContain('the last of writer 0 is 1')
  })

  test('what was seen at a quiet point may not be lost', () => {
    const order = new Order()
    order.add(commits.slice(0, 3))
    expect(order.check([look(3, 1, 3)])).toBeUndefined()
    order.add(commits.slice(3))
    expect(order.check([{ ...look(2, 1, 1), mayForget: true }])).toContain('after there were 3')
  })
})
