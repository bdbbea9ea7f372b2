/** The ledger for people: entries, merges and branches, told in words. Use cases of the post office. */
import { parseCertificate } from '../consensus/certificate.js';
import { verifyEntry } from '../ledger/entry.js';
import { isEnvelope } from '../ledger/envelope.js';
import { parseCommit, parseTrailers } from '../ledger/git-object.js';
import type { EntryId, Json, JsonObject, KeyId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readKey } from '../ledger/kernel.js';
import { nodeIdOf } from '../ledger/signature.js';
import type { EntryRow, MergeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { openedForm } from './door-record.js';
import { tellEntry } from './explain.js';
import { MAIN, type MainLine } from './main-line.js';
import { ABOUT, type Names } from './names.js';
import type { PrivateRecords, Unreadable } from './private-records.js';
import type { Session, Sessions } from './sessions.js';
import { shownChanges, storyOfEntry, storyOfMerge } from './show-words.js';
import type { StateChanges } from './state-changes.js';
import type { BranchView, EntryView, MergeView, Page, Shown } from './use-cases.js';
import type { View } from './view.js';

const PAGE_MAX = 200;
const BRANCHES_MAX = 1000;
const ENTRIES_OF_MERGE_MAX = 2000;
const PREFIX_MIN = 8;

const ABOUT_FIELD: { readonly [field: string]: string } = {
  profile: ABOUT.profile,
  record: ABOUT.record,
  memo: ABOUT.memo,
};
/** What is shown in place of what cannot be read. */
const UNREADABLE: { readonly [why in Unreadable]: string } = {
  erased: '(erased)',
  'not-here': '(its key is not here)',
};
/** Where the same name of a field means another thing in each type of entry. */
const ABOUT_FIELD_OF: { readonly [place: string]: string } = {
  'membership.suspend reason': ABOUT.suspension,
  'door-access.revoke reason': ABOUT.revocation,
  'member.suspend reason': ABOUT.suspension,
};

export class LedgerCases {
  constructor(
    private readonly store: Store,
    private readonly main: MainLine,
    private readonly view: View,
    private readonly records: PrivateRecords,
    private readonly names: Names,
    private readonly sessions: Sessions,
    /** Who can tell what a merge changed; without it that is not told. */
    private readonly changes?: StateChanges,
  ) {}

  /** Stewards may read what concerns persons; others get it without. */
  private mayRead(session: Session): boolean {
    return this.sessions.may(session, 'membership.add');
  }

  /** Newest first, across the archive. @throws TownError `bad-page`, and what reading the archive throws */
  async log(token: string, input: { limit: number; before?: string | undefined }): Promise<Page<EntryView>> {
    const session = this.sessions.need(token);
    const limit = Math.min(Math.max(input.limit, 1), PAGE_MAX);
    const { rows, next } = await this.store.archive.log(limit, input.before);
    return { items: rows.map((row) => this.entryView(row, this.mayRead(session))), next };
  }

  /** An entry as people see it; `open`: with personal fields in plain words. */
  entryView(row: EntryRow, open: boolean): EntryView {
    const entry = verifyEntry(Buffer.from(row.bytes).toString('utf8'));
    const plain = this.opened(entry.type, entry.body);
    const by = this.authorOf(entry.by);
    const record = open ? ((plain['record'] ?? null) as { person?: string; reason?: string } | null) : null;
    const says = tellEntry(entry.type, entry.body, {
      by,
      member: (id) => this.names.ofMember(String(id)) ?? String(id),
      node: (id) => this.main.charter.nodes[String(id)]?.name ?? String(id),
      person: (id) => (open ? this.names.ofPerson(String(id)) : null) ?? String(id),
      record: typeof record === 'object' ? record : null,
      reason: open && typeof plain['reason'] === 'string' ? plain['reason'] : null,
    });
    const merge = row.height === null ? null : this.store.merge(row.height);
    return {
      id: row.id,
      type: row.type,
      at: row.at,
      node: row.node,
      n: row.n,
      ...(row.line === MAIN ? {} : { line: row.line }),
      by,
      member: row.member ?? readKey(this.view.state, entry.by)?.member ?? null,
      state: row.state,
      verdict: row.verdict,
      ...(row.code === null ? {} : { code: row.code }),
      ...(row.reason === null ? {} : { reason: row.reason }),
      ...(row.other === null ? {} : { other: row.other }),
      ...(merge ? { merge: merge.id, height: merge.height } : {}),
      says,
      body: open ? plain : this.closed(entry.body),
    };
  }

  private authorOf(key: KeyId): string {
    const member = readKey(this.view.state, key)?.member;
    if (member) return this.names.ofMember(member) ?? member;
    return this.main.charter.nodes[nodeIdOf(key)]?.name ?? key.slice(0, 12);
  }

  private opened(type: string, body: JsonObject): JsonObject {
    const about = (field: string): string =>
      ABOUT_FIELD_OF[`${type} ${field}`] ?? ABOUT_FIELD[field] ?? field;
    return this.mapSealed(body, (field, value) => {
      const plain = this.records.open(about(field), value);
      if (plain === null) return UNREADABLE[this.records.whyNot(value)];
      return about(field) === ABOUT.record ? ({ ...openedForm(plain) } as JsonObject) : plain;
    });
  }

  private closed(body: JsonObject): JsonObject {
    return this.mapSealed(body, () => '(private)');
  }

  private mapSealed(body: JsonObject, open: (field: string, value: Json) => Json): JsonObject {
    return Object.fromEntries(
      Object.entries(body).map(([field, value]) => [field, isEnvelope(value) ? open(field, value) : value]),
    );
  }

  merges(token: string, input: { limit: number; before?: number | undefined }): Page<MergeView> {
    this.sessions.need(token);
    const limit = Math.min(Math.max(input.limit, 1), PAGE_MAX);
    const rows =
      input.before === undefined ? this.store.merges(limit) : this.store.merges(limit, input.before);
    const last = rows[rows.length - 1];
    return {
      items: rows.map((row) => this.mergeView(row)),
      next: rows.length === limit && last && last.height > 0 ? String(last.height) : null,
    };
  }

  /** With its entries, as this session may see them. */
  async mergeWithEntries(row: MergeRow, session: Session): Promise<MergeView> {
    const rows = await this.store.archive.mergeEntries(row.height, ENTRIES_OF_MERGE_MAX);
    return {
      ...this.mergeView(row),
      entries: rows.map((entry) => this.entryView(entry, this.mayRead(session))),
    };
  }

  mergeView(row: MergeRow): MergeView {
    const { fields } = parseCommit(row.raw);
    const trailers = parseTrailers(fields.message);
    const certificate = this.store.certificate(row.height);
    const blocks = row.height === 0 ? [] : this.store.blocksOfMerge(row.height, 4096);
    const heads = (trailers.get('Head-SHA256') ?? []).map((id) => {
      const node = this.store.block(id)?.node ?? '';
      const entries = blocks
        .filter((block) => block.node === node)
        .reduce((sum, block) => sum + block.entries, 0);
      return { node, id, entries };
    });
    return {
      height: row.height,
      id: row.id,
      oid: row.oid,
      content: row.content,
      time: row.time,
      by: row.node,
      heads,
      counts: row.counts,
      testedBy: (trailers.get('Tested-by') ?? []).map((line) => line.split(' ')[0] as string),
      attestedBy:
        certificate && row.height > 0 ? parseCertificate(certificate).votes.map(({ node }) => node) : [],
    };
  }

  branches(token: string): readonly BranchView[] {
    this.sessions.need(token);
    const nameOf = (node: string): string => this.main.charter.nodes[node]?.name ?? node;
    return this.store.branches(BRANCHES_MAX).map(({ node, line, seq, head, unmergedBlocks }) => ({
      node,
      name: line === MAIN ? nameOf(node) : `${nameOf(node)}, draft ${line}`,
      seq,
      head,
      unmerged: unmergedBlocks,
    }));
  }

  /** By an id or git id, or a start of it. @throws TownError `not-found`, `ambiguous`, `bad-id` */
  async show(token: string, id: string): Promise<Shown> {
    const session = this.sessions.need(token);
    const prefix = id.toLowerCase();
    if (!/^[0-9a-f]+$/.test(prefix) || prefix.length < PREFIX_MIN || prefix.length > 64)
      throw new TownError(
        'bad-id',
        `An id is named by its first ${PREFIX_MIN} to 64 hex digits.`,
        'Take it from town log.',
      );
    const byOid = prefix.length <= 40 ? this.store.mergesByOid(prefix) : [];
    const found = [...this.store.mergesByPrefix(prefix), ...byOid];
    const merges = found.filter(({ height }, i) => found.findIndex((one) => one.height === height) === i);
    const entries = await this.store.archive.entriesByPrefix(prefix);
    if (merges.length + entries.length > 1)
      throw new TownError('ambiguous', `More than one thing begins with ${prefix}.`, 'Give more digits.');
    const [merge] = merges;
    if (merge) return this.shownMerge(merge, session);
    const [entry] = entries;
    if (entry) return this.shownEntry(entry, session);
    throw new TownError(
      'not-found',
      `Nothing in the ledger begins with ${prefix}.`,
      'Take an id from town log; a commit of a branch is shown by git (git show).',
    );
  }

  private nameOf(node: string): string {
    return this.main.charter.nodes[node]?.name ?? node;
  }

  private async shownMerge(row: MergeRow, session: Session): Promise<Shown> {
    const merge = await this.mergeWithEntries(row, session);
    const story = storyOfMerge(merge, (node) => this.nameOf(node));
    const changes = await this.changes?.of(row);
    return { kind: 'merge', merge, explained: { story, ...shownChanges(changes?.all) } };
  }

  private async shownEntry(row: EntryRow, session: Session): Promise<Shown> {
    const entry = this.entryView(row, this.mayRead(session));
    const other = entry.other === undefined ? null : await this.entry(entry.other as EntryId, false);
    const judged = row.height === null || entry.line !== undefined ? null : this.store.merge(row.height);
    const merge = judged && this.mergeView(judged);
    const story = storyOfEntry(entry, merge, other, (node) => this.nameOf(node));
    const changes = judged ? await this.changes?.of(judged) : undefined;
    const explained = { story, ...(other ? { other } : {}), ...shownChanges(changes?.byEntry.get(row.id)) };
    return { kind: 'entry', entry, explained };
  }

  /** One of the newest, which the database still has. */
  recentEntry(id: EntryId, open: boolean): EntryView | null {
    const row = this.store.entry(id);
    return row ? this.entryView(row, open) : null;
  }

  /** Also where only git has it. @throws what reading the archive throws */
  async entry(id: EntryId, open: boolean): Promise<EntryView | null> {
    const row = await this.store.archive.entry(id);
    return row ? this.entryView(row, open) : null;
  }
}
