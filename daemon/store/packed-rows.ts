/**
 * Many rows on their way to the writer's thread: as one text and one run of bytes. Copied one by one, with a buffer each, they take
 * both threads longer than writing them does.
 */
import type { EntryVerdict, NewEntry, StateWrite } from './rows.js';
import type {
  AdoptBatch,
  BlockBatch,
  PackedAdoption,
  PackedBlock,
  PackedEntries,
} from './writer-protocol.js';

type Row = readonly [...(string | number | null)[], number];

export function packEntries(entries: readonly NewEntry[]): PackedEntries {
  const rows = entries.map(({ id, node, line, n, type, kind, by, member, at, bytes }): Row => {
    return [id, node, line, n, type, kind, by, member, at, bytes.byteLength];
  });
  let at = 0;
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + entry.bytes.byteLength, 0));
  for (const entry of entries) {
    bytes.set(entry.bytes, at);
    at += entry.bytes.byteLength;
  }
  return { rows: JSON.stringify(rows), bytes };
}

export function unpackEntries({ rows, bytes: all }: PackedEntries): NewEntry[] {
  let end = 0;
  return (JSON.parse(rows) as Row[]).map((row) => {
    const [id, node, line, n, type, kind, by, member, at, length] = row;
    const bytes = all.subarray(end, (end += length as number));
    return { id, node, line, n, type, kind, by, member, at, bytes } as unknown as NewEntry;
  });
}

export const packBlock = (batch: BlockBatch): PackedBlock => ({
  ...batch,
  newEntries: packEntries(batch.newEntries ?? []),
});

export const packAdoption = (batch: AdoptBatch): PackedAdoption => ({
  ...batch,
  verdicts: JSON.stringify(batch.verdicts),
  state: JSON.stringify(batch.state),
  rows: batch.verdicts.length + batch.state.length,
});

export const unpackVerdicts = ({ verdicts }: PackedAdoption): EntryVerdict[] =>
  JSON.parse(verdicts) as EntryVerdict[];

export const unpackState = ({ state }: PackedAdoption): StateWrite[] => JSON.parse(state) as StateWrite[];
