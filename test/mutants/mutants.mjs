/**
 * Known-bad variants of follower, each of which a test must catch. An edit replaces a text that must be there
 * exactly once; where it is not, the list is out of date, and that is a failure too. `chaos`: the arguments of a short
 * chaos run that must catch it as well.
 */
export const mutants = [
  {
    name: 'acknowledges before the downstream commit',
    edits: [
      [
        'src/session/pump.ts',
        'this.tracker.received()',
        'this.tracker.received(); this.tracker.durable = transaction.endLsn',
      ],
    ],
    test: ['test/exactly-once.test.ts', 'never goes beyond'],
    chaos: ['--kind', 'kill at', '--seed', '1'],
  },
  {
    name: 'acknowledges a keepalive while data is queued',
    edits: [
      [
        'src/session/acknowledge.ts',
        'flushed: durable, applied',
        'flushed: this.tracker.seen > durable ? this.tracker.seen : durable, applied',
      ],
    ],
    test: ['test/exactly-once.test.ts', 'never goes beyond'],
    chaos: ['--kind', 'kill', '--seed', '1'],
  },
  {
    name: 'writes progress in a transaction of its own',
    edits: [
      [
        'src/apply/session.ts',
        `    if (quick) this.writeAdvance(last)
    else this.pipeline.statement(this.advance(last.endLsn, last.commitTime))
    this.pipeline.statement('COMMIT')
`,
        `    this.pipeline.statement('COMMIT')
    await this.pipeline.sync(() => failpointOn('apply.commit-sent', this.client))
    this.pipeline.open()
    if (quick) this.writeAdvance(last)
    else this.pipeline.statement(this.advance(last.endLsn, last.commitTime))
`,
      ],
      ['src/apply/session.ts', `result.lastTag !== 'C'`, `result.lastTag === 'R'`],
    ],
    test: ['test/exactly-once.test.ts', 'at apply.commit-sent'],
    chaos: ['--kind', 'kill at apply', '--seed', '1'],
  },
  {
    name: 'begins where the slot stands, and applies again what it has sent before',
    edits: [
      [
        'src/session/session.ts',
        'source, start, prepared, binary)',
        'source, start - start, prepared, binary)',
      ],
      [
        'src/transaction/assembler.ts',
        'const duplicate = endLsn <= this.position',
        'const duplicate = endLsn <= this.position && endLsn < 0n',
      ],
    ],
    test: ['test/exactly-once.test.ts', 'at apply.commit-sent'],
    chaos: ['--kind', 'kill at apply', '--seed', '1'],
  },
  {
    name: 'lets two daemons write one progress row',
    edits: [
      [
        'sql/downstream/progress.sql',
        `     WHERE p.name = advance_progress.name
       AND p.epoch = advance_progress.epoch
       AND p.lsn = advance_progress.previous
`,
        '     WHERE p.name = advance_progress.name\n',
      ],
    ],
    test: ['test/position.test.ts', 'fences the daemon'],
    chaos: ['--kind', 'sessions hang', '--seed', '1'],
  },
  {
    name: 'acknowledges what the downstream has not flushed',
    edits: [
      [
        'src/session/durability.ts',
        'if (!options.synchronousCommit) this.timer',
        'if (options.synchronousCommit === undefined) this.timer',
      ],
    ],
    test: ['test/data-path.test.ts', 'acknowledges nothing that the downstream may lose'],
    // A seed of three runs with --synchronous-commit off.
    chaos: ['--kind', 'downstream', '--mode', 'server', '--seed', '3'],
  },
  {
    name: 'upserts where TOAST values are unchanged',
    edits: [
      [
        'src/plan/rows.ts',
        `      return shape.replaces ?`,
        `      if (shape.unchanged.length > 0)
        return planInsert(relation, target, { ...shape, operation: 'insert', existing: 'overwrite' })
      return shape.replaces ?`,
      ],
    ],
    test: ['test/rows.test.ts', 'rows of 18 keeps unchanged TOAST'],
    chaos: ['--mode', 'session', '--seed', '1'],
  },
  {
    name: "sends the upstream's type OIDs downstream",
    edits: [
      [
        'src/plan/statements.ts',
        'column: target.columns.get(column.name)!,',
        'column: { ...target.columns.get(column.name)!, typeOid: column.typeOid },',
      ],
    ],
    test: ['test/rows.test.ts', 'names types by the downstream'],
    chaos: ['--mode', 'session', '--seed', '1'],
  },
  {
    name: 'pins no settings on the walsender',
    edits: [
      [
        'src/postgres/connect.ts',
        'await client.query(pins(options.end))',
        'if (!options.replication) await client.query(pins(options.end))',
      ],
    ],
    test: ['test/rows.test.ts', 'hostile settings'],
    chaos: ['--mode', 'session', '--seed', '1'],
  },
  {
    name: 'the observer keeps a wedged pipeline alive',
    edits: [
      [
        'src/telemetry/health.ts',
        'if (!changed) return\n    this.beat()',
        'this.beat()\n    if (!changed) return',
      ],
    ],
    test: ['test/telemetry.test.ts', 'a new state is a beat'],
  },
  {
    name: 'feeds the watchdog by the timer alone',
    edits: [['src/daemon/service-manager.ts', 'if (health.live()) {', 'if (health) {']],
    test: ['test/systemd.slow.test.ts', 'while the health says wedged'],
  },
  {
    name: 'replays current_query() whole',
    edits: [
      [
        'src/ddl/candidates.ts',
        'list.push({ statement, accept',
        'list.push({ statement: { ...statement, text }, accept',
      ],
    ],
    test: ['test/ddl-follow.test.ts', 'changes of 18 several statements in one string'],
    chaos: ['--mode', 'session', '--seed', '1'],
  },
  {
    name: 'truncates one table after the other',
    edits: [
      ['src/decode/wal2json.ts', 'record.lsn !== this.truncateLsn', "record.lsn !== this.truncateLsn + '!'"],
    ],
    test: ['test/wal2json-follow.slow.test.ts', 'truncates together'],
  },
  {
    name: 'takes the hexadecimal digits of wal2json for the bytes',
    edits: [['src/decode/message.ts', 'columns.types[at] === bytea', 'columns.types[at] === -bytea']],
    test: ['test/wal2json-follow.slow.test.ts', 'carries the same bytes'],
  },
  {
    name: 'hands the function of the event triggers to the role that follows',
    edits: [
      [
        'sql/upstream/70_hand_over.sql',
        "capture_ddl() OWNER TO %I', wall",
        "capture_ddl() OWNER TO %I', role",
      ],
      ['sql/upstream/70_hand_over.sql', "lc_messages TO %I', wall", "lc_messages TO %I', role"],
    ],
    test: ['test/rights-attacks.test.ts', 'refused'],
  },
  {
    name: 'takes what a foreign key has deleted for a conflict',
    edits: [
      [
        'src/apply/stepwise.ts',
        'await session.cascades?.explains(known.relation)',
        'known.relation === undefined',
      ],
    ],
    test: ['test/scenarios/origin.slow.test.ts', 'of 18 actions of foreign keys have done already'],
  },
  {
    name: 'checks constraints at once where the upstream had them at its end',
    edits: [['src/apply/session.ts', "'SET CONSTRAINTS ALL DEFERRED'", "'SET CONSTRAINTS ALL IMMEDIATE'"]],
    test: ['test/scenarios/origin.slow.test.ts', 'of 18 foreign keys hold'],
  },
  {
    name: 'lets ordinary triggers fire',
    edits: [['src/apply/session.ts', "isOrigin && options.ordinaryTriggers === 'halt'", 'false']],
    test: ['test/scenarios/origin.slow.test.ts', 'of 18 stops at a table with ordinary triggers'],
  },
  {
    name: 'copies tabs as they are',
    edits: [['src/apply/encode.ts', ' || byte === 0x0d || byte === 0x09', ' || byte === 0x0d']],
    test: ['test/together.test.ts', 'end as one change after the other'],
  },
  {
    name: 'takes quotes in arrays for their ends',
    edits: [['src/apply/encode.ts', 'if (byte === quote || byte === backslash)', 'if (byte === backslash)']],
    test: ['test/together.test.ts', 'end as one change after the other'],
  },
  {
    name: 'forgets that a deleted row came back',
    edits: [
      [
        'src/apply/net.ts',
        'return state === netDelete ? netReplace : 0',
        'return state === netDelete ? netDelete : 0',
      ],
    ],
    test: ['test/together.test.ts', 'end as one change after the other'],
  },
  {
    name: 'puts the changes of a changed key together with those of others',
    edits: [
      [
        'src/apply/net.ts',
        'if (newTuple.unchanged > 0) return false\n    return old',
        'return newTuple.unchanged === 0 || old',
      ],
    ],
    test: ['test/together.test.ts', 'end as one change after the other'],
  },
  {
    name: 'lets two connections of one session reach different servers',
    edits: [['src/provision/same-server.ts', 'if (one === other) return', 'if (one) return']],
    test: ['test/servers-moving.test.ts', 'an address that moves'],
  },
  {
    name: 'goes on where a publication is missing in the WAL',
    edits: [['src/session/publication-missing.ts', ", 'LoadPublications'", '']],
    test: ['test/scenarios/publications.test.ts', 'stops the follow before the first change'],
  },
  {
    name: 'skips whatever has stopped the follow, by any LSN',
    edits: [['sql/query/ask_skip.sql', ' AND i.lsn = $2::pg_lsn\n', ' AND $2::pg_lsn IS NOT NULL\n']],
    test: ['test/incidents.test.ts', 'refuses a wrong LSN'],
  },
  {
    name: 'records a skip apart from the position',
    edits: [
      [
        'src/apply/session.ts',
        'this.pipeline.statement(`SELECT follower.skip_transaction(',
        'this.pipeline.statement(this.advance(endLsn, commitTime)); await this.pipeline.sync(() => failpointOn("apply.commit-sent", this.client)); this.position = endLsn; this.pipeline.open(); this.pipeline.statement(`SELECT follower.skip_transaction(',
      ],
    ],
    test: ['test/scenarios/skip.slow.test.ts', 'killed on its way'],
  },
  {
    name: 'takes a deadlock for something that needs a person',
    edits: [['src/postgres/sqlstate.ts', "  '40P01', // deadlock_detected\n", '']],
    test: ['test/incidents.slow.test.ts', 'a real deadlock'],
  },
  {
    name: 'takes what a trigger made read-only for a standby',
    edits: [['src/session/incidents.ts', "rows[0]?.standby === 't' ?", "rows[0]?.standby !== 'x' ?"]],
    test: ['test/incidents.slow.test.ts', 'each kind of error'],
  },
  {
    name: 'tells the values of the row that failed',
    edits: [['src/apply/stepwise.ts', 'error.message = hideValues(', 'hideValues(']],
    test: ['test/incidents.slow.test.ts', 'no value but the key'],
  },
  {
    name: 'leaves a timer behind with each session',
    edits: [['src/session/report.ts', 'clearInterval(this.timer)', 'void this.timer']],
    test: ['test/process.slow.test.ts', 'reconnects leave'],
  },
  {
    name: 'applies changes of a table that has come late',
    edits: [
      [
        'src/apply/waiting.ts',
        'if (await this.options.late(relation)) this.tables',
        'if (false) this.tables',
      ],
    ],
    test: ['test/copy-late.test.ts', 'takes up is copied'],
  },
  {
    name: 'takes tables that are made for late ones',
    edits: [
      [
        'src/session/ddl-port.ts',
        "if (result !== 'skipped') await this.made(message)",
        "if (result !== 'skipped' && message.tag === '') await this.made(message)",
      ],
    ],
    test: ['test/copy-late.slow.test.ts', 'late, 18 what happens to them before'],
  },
  {
    name: 'takes in binary what is of another type downstream',
    edits: [['src/plan/binary.ts', 'binary.oid === typeOid', 'typeOid > 0']],
    test: ['test/binary.test.ts', 'another type downstream'],
  },
  {
    name: 'tells no values of what fails in binary',
    edits: [['src/apply/applier.ts', 'if (this.session.isBinary) throw', 'if (batch.length < 0) throw']],
    test: ['test/binary.test.ts', 'told with its key'],
  },
  {
    name: 'acknowledges what copied tables still need',
    edits: [['src/session/wire.ts', 'most: catchUp?.lsn ?? copiedAt', 'most: undefined']],
    test: ['test/copy-late.slow.test.ts', 'late, 18 others go on meanwhile'],
  },
  {
    name: 'applies all once more where copied tables catch up',
    edits: [
      [
        'src/apply/waiting.ts',
        'if (only !== undefined) return !only.has(relation.oid)',
        'if (only !== undefined) return false',
      ],
    ],
    test: ['test/copy-late.slow.test.ts', 'late, 18 others go on meanwhile'],
  },
  {
    name: 'forgets the changes from meanwhile',
    edits: [
      [
        'src/session/copy.ts',
        'await markBehind(lock, settings.name, epoch, beside)',
        'await markBehind(lock, settings.name, epoch, false)',
      ],
    ],
    test: ['test/copy-late.slow.test.ts', 'late, 18 killed in every phase'],
  },
  {
    name: 'applies schema changes while tables are copied',
    edits: [['src/session/wire.ts', 'copiedAt !== undefined &&', 'copiedAt === 0n &&']],
    test: ['test/copy-late.slow.test.ts', 'late, 18 what happens to them before'],
  },
  {
    name: 'moves the slot to what was pulled and not applied',
    edits: [
      [
        'src/session/own-slot.ts',
        'const lsn = tracker.durable > this.advanced ? tracker.durable :',
        'const lsn = tracker.seen > this.advanced ? tracker.seen :',
      ],
    ],
    test: ['test/pull.slow.test.ts', 'moves the own slot'],
  },
  {
    name: 'goes over to the stream behind what it has not pulled',
    edits: [
      [
        'src/session/pull.ts',
        'return this.isOver() ? undefined : received',
        'return this.isOver() ? undefined : received + 0x100000n',
      ],
    ],
    test: ['test/pull.slow.test.ts', '18 is followed by the stream'],
  },
  {
    name: 'takes a window that lacks the changes of a publication',
    edits: [
      [
        'src/session/pull.ts',
        'if (missing) void this.turns.giveUp(missing)',
        'if (missing) this.timer.ref()',
      ],
    ],
    test: ['test/pull.slow.test.ts', 'stops at a publication'],
  },
  {
    name: 'keeps half a transaction of a window that was given up',
    edits: [['src/session/pull.ts', 'source.assembler.dropOpen()', 'void source']],
    test: ['test/pull.slow.test.ts', 'makes way for the stream'],
  },
  {
    name: 'begins with what is beyond --until, since its commit is not known to be',
    edits: [
      [
        'src/session/pump.ts',
        '(this.until === undefined || (commitLsn !== 0n && commitLsn < this.until))',
        'commitLsn >= 0n',
      ],
    ],
    test: ['test/arriving.slow.test.ts', 'it is left by an --until'],
  },
  {
    name: 'waits for the rest of a transaction, whoever wants the process to stop',
    edits: [['src/session/pump.ts', 'if (this.stopped || this.end) return', 'if (this.end) return']],
    test: ['test/arriving.slow.test.ts', 'a wish to stop'],
  },
  {
    name: 'keeps what a subtransaction did that was rolled back',
    edits: [
      [
        'src/transaction/assembler.ts',
        'if (!open.abort(subxid)) this.handlers.unclear?.()',
        'if (subxid === 0 && !open.abort(subxid)) this.handlers.unclear?.()',
      ],
    ],
    test: ['test/streamed.test.ts', 'lose what aborted'],
  },
  {
    name: 'goes on with what it applies ahead although another one is committed first',
    edits: [
      [
        'src/session/pump.ts',
        "if (this.queue.length > 0) return 'another one comes before it'",
        'if (this.queue.length < 0) return undefined',
      ],
    ],
    test: ['test/streaming.slow.test.ts', 'another one that is committed first'],
  },
  {
    name: 'lets others have the definitions of what is not committed',
    edits: [
      [
        'src/transaction/assembler.ts',
        'const definitions = this.block?.definitions ?? this.current\n',
        'const definitions = this.current\n',
      ],
    ],
    test: ['test/streamed.test.ts', 'have definitions of their own'],
  },
  {
    name: 'leaves out what of a transaction arrives after its first part',
    edits: [
      [
        'src/transaction/parts.ts',
        'this.offset = all ? open.offset : 0',
        'this.offset = all ? open.offset + 1 : 0',
      ],
      ['src/transaction/parts.ts', 'this.chunk = next', 'this.chunk = open.chunks.length - 1'],
    ],
    test: ['test/arriving.slow.test.ts', 'what arrives is applied meanwhile'],
  },
  {
    name: 'takes a slot that was moved for one that is lost',
    edits: [
      ['src/session/stream-error.ts', "row?.beyond === 't' ? passing : error", 'row ? error : passing'],
    ],
    test: ['test/servers-slots.slow.test.ts', 'moves while it is read'],
  },
  {
    name: 'waits for ever for an upstream that falls silent at the beginning',
    edits: [['src/session/session.ts', 'const begun = begin()', 'const begun = begin()\n    await begun']],
    test: ['test/pull.slow.test.ts', 'before the first look'],
  },
  {
    name: 'looks for the progress row through all that it was before',
    edits: [
      ['sql/downstream/progress.sql', "  PERFORM set_config('follower.place', place::text, false);\n", ''],
    ],
    test: ['test/progress-row.test.ts', 'stays open downstream'],
  },
  {
    name: 'holds a schema change together with rows',
    edits: [['src/transaction/bundle.ts', '      next.sides.length === 0 &&\n', '']],
    test: ['test/bundle.test.ts', 'each is the same by itself'],
  },
  {
    name: 'commits what arrived without the answers to its last part',
    edits: [
      ['src/apply/arriving.ts', '    await this.pending()\n', ''],
      [
        'src/session/arriving.ts',
        'part ? undefined : pending()',
        'transaction.bytes >= 0 ? undefined : pending()',
      ],
    ],
    test: ['test/arriving.slow.test.ts', 'a row that is missing'],
  },
  {
    name: 'goes on with a transaction of which not all is kept',
    edits: [
      [
        'src/apply/applier.ts',
        'if (arriving.incomplete) arriving.askAgain(reason)',
        'if (!transaction) return',
      ],
    ],
    test: ['test/arriving-again.slow.test.ts', 'streaming on that meets a conflict late'],
  },
  {
    name: 'takes back a subtransaction of which nothing is kept',
    edits: [['src/transaction/streamed.ts', 'if (this.incomplete) return', '']],
    test: ['test/arriving-again.slow.test.ts', 'a subtransaction that is rolled back'],
  },
  {
    name: 'copies a NULL as an empty value',
    edits: [
      ['src/apply/encode-binary.ts', '        target.setInt32(at, -1)', '        target.setInt32(at, 0)'],
    ],
    test: ['test/binary.test.ts', ''],
  },
  {
    name: 'takes the window ahead while the one before it arrives',
    edits: [
      ['src/stream/windows.ts', 'this.socket.pause()\n  }\n', '}\n'],
      ['src/stream/windows.ts', 'this.socket.pause()\n    if (error)', 'if (error)'],
    ],
    test: ['test/pull.slow.test.ts', 'behind the one before it'],
  },
]
