import { JsonScanner, jsonNull, jsonNumber, jsonString, jsonTrue, unescapeJson } from './json.ts'

/** Columns as one array of a record lists them: names, types, and where the values stand. No value is copied or parsed. */
export class JsonColumns {
  /** Whether the record has this array at all. */
  present = false
  readonly names: string[] = []
  readonly types: number[] = []
  readonly kinds: number[] = []
  readonly starts: number[] = []
  readonly ends: number[] = []
  readonly escaped: boolean[] = []

  get count(): number {
    return this.names.length
  }

  clear(): void {
    this.present = false
    for (const list of [this.names, this.types, this.kinds, this.starts, this.ends, this.escaped])
      list.length = 0
  }

  read(scanner: JsonScanner): void {
    this.present = true
    scanner.expect(openArray)
    if (scanner.take(closeArray)) return
    do this.readColumn(scanner)
    while (scanner.take(comma))
    scanner.expect(closeArray)
  }

  private readColumn(scanner: JsonScanner): void {
    const at = this.count
    this.types[at] = 0
    this.kinds[at] = jsonNull
    readObject(scanner, (key) => {
      if (key === 'name') {
        scanner.scalar()
        this.names[at] = scanner.text()
      } else if (key === 'typeoid') {
        scanner.scalar()
        // Written as a signed number.
        this.types[at] = Number(scanner.text()) >>> 0
      } else if (key === 'value') {
        this.kinds[at] = scanner.scalar()
        this.starts[at] = scanner.start
        this.ends[at] = scanner.end
        this.escaped[at] = scanner.escaped
      } else scanner.skip()
    })
    if (this.names[at] === undefined) throw new RangeError('wal2json: a column without a name')
  }
}

const openArray = 0x5b
const closeArray = 0x5d
const comma = 0x2c

/** One record of wal2json's format version 2; reused for every record. */
export class JsonRecord {
  action = ''
  schema = ''
  table = ''
  xid = 0
  timestamp = ''
  lsn = ''
  nextLsn = ''
  prefix = ''
  transactional = false
  content: Buffer = Buffer.alloc(0)
  /** The new row, the old row or its key, and the primary key. */
  readonly columns = new JsonColumns()
  readonly identity = new JsonColumns()
  readonly primaryKey = new JsonColumns()
  private readonly scanner = new JsonScanner()

  /** Throws a RangeError where the bytes are no record. */
  read(buffer: Buffer, offset: number, length: number): void {
    const { scanner } = this
    this.action = this.schema = this.table = this.timestamp = this.lsn = this.nextLsn = this.prefix = ''
    for (const columns of [this.columns, this.identity, this.primaryKey]) columns.clear()
    scanner.open(buffer, offset, length)
    readObject(scanner, (key) => this.field(key, buffer))
    scanner.close()
  }

  private field(key: string, buffer: Buffer): void {
    const { scanner } = this
    if (key === 'columns') this.columns.read(scanner)
    else if (key === 'identity') this.identity.read(scanner)
    else if (key === 'pk') this.primaryKey.read(scanner)
    else if (fields.has(key)) this.scalar(key, buffer)
    else scanner.skip()
  }

  private scalar(key: string, buffer: Buffer): void {
    const { scanner } = this
    const kind = scanner.scalar()
    if (key === 'content') this.content = bytes(buffer, scanner)
    else if (key === 'transactional') this.transactional = kind === jsonTrue
    else if (key === 'xid') this.xid = kind === jsonNumber ? Number(scanner.text()) : 0
    else if (kind === jsonString) this[key === 'nextlsn' ? 'nextLsn' : (key as TextField)] = scanner.text()
  }
}

type TextField = 'action' | 'schema' | 'table' | 'timestamp' | 'lsn' | 'prefix'

const fields = new Set([
  ...['action', 'schema', 'table', 'xid', 'timestamp', 'lsn', 'nextlsn'],
  ...['prefix', 'transactional', 'content'],
])

/** A view where nothing is escaped. */
function bytes(buffer: Buffer, { start, end, escaped }: JsonScanner): Buffer {
  if (!escaped) return buffer.subarray(start, end)
  const target = Buffer.allocUnsafe(end - start)
  return target.subarray(0, unescapeJson(buffer, start, end, target, 0))
}

function readObject(scanner: JsonScanner, field: (key: string) => void): void {
  scanner.expect(0x7b)
  if (scanner.take(0x7d)) return
  do {
    if (scanner.scalar() !== jsonString) throw new RangeError('JSON: a key is expected')
    const key = scanner.text()
    scanner.expect(0x3a)
    field(key)
  } while (scanner.take(comma))
  scanner.expect(0x7d)
}
