/** With FOLLOWER_STREAMING=on all tests run so, and whatever is not tiny is sent before its commit. */
export const streamed: Readonly<Record<string, string>> =
  process.env.FOLLOWER_STREAMING === 'on' ? { logical_decoding_work_mem: '64kB' } : {}
