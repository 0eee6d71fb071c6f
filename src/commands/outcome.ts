import type { ExitCode } from '../errors.ts'

/** What a command leaves for the process: 0 unless it says otherwise. */
export interface Outcome {
  exit: ExitCode
}
