import type pg from 'pg'

interface WireConnection {
  query(text: string): void
}

/**
 * COPY … TO STDOUT on a client of `pg`, which itself drops the data: hands every message to `receive` and resolves
 * with the number of rows. In text format a message is a row with its newline.
 */
export function copyOut(client: pg.Client, text: string, receive: (data: Buffer) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined
    let rows = 0
    // The methods that pg calls on whatever is the active query.
    const submittable = {
      submit: (connection: WireConnection): void => connection.query(text),
      handleCopyData: ({ chunk }: { chunk: Buffer }): void => receive(chunk),
      handleCommandComplete: ({ text: tag }: { text: string }): void => {
        rows = Number(tag.split(' ')[1])
      },
      handleError: (error: Error): void => {
        failure = error
        // After a lost connection no ReadyForQuery comes.
        reject(error)
      },
      handleReadyForQuery: (): void => {
        if (failure) reject(failure)
        else resolve(rows)
      },
    }
    client.query(submittable as unknown as pg.Submittable)
  })
}
