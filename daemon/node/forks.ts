/**
 * The draft forks of this node: made, worked on, shown, given up, and brought home by the stewards' signatures. A draft lives
 * here alone until it is adopted; that it is there is a ref in git and a row of `meta`, its merges are in git.
 */
import { verifyEntry } from '../ledger/entry.js';
import { parseCommit, parseTrailers } from '../ledger/git-object.js';
import type { EntryId, MemberId, Millis, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { NO_FORKS, readFork, writeFork } from '../ledger/kernel-forks.js';
import type { BranchPart } from '../ledger/order.js';
import { replay } from '../ledger/replay.js';
import { Overlay } from '../ledger/state.js';
import type { EntryRow, MergeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import { Fork, forkRef, type ForkParts } from './fork.js';
import { withCosigners } from './cosigners.js';
import type {
  Cosigner,
  ForkCases,
  ForkChanges,
  ForkDetails,
  ForkEntryView,
  ForkJudgement,
  ForkStatus,
  ForkView,
} from './fork-cases.js';
import { changesOf } from './fork-preview.js';
import type { KeyStore } from './key-files.js';
import type { Head } from './main-line.js';
import type { Names } from './names.js';
import { recorded } from './people.js';
import type { Recorded } from './recorded.js';
import type { Sessions } from './sessions.js';
import type { View } from './view.js';

/** Drafts that are open at once: each keeps a whole state in memory once it is used. */
export const OPEN_MAX = 8;
/** Drafts that a node ever made. */
const EVER_MAX = 1_000;
/** Entries of a draft that are told, and tried on `main`. */
const ENTRIES_MAX = 2_000;
const BLOCKS_MAX = 4_096;
const NAME = /^[a-z][a-z0-9-]{0,31}$/;
/** Names that git or the ledger use for something else. */
const NOT_NAMES = new Set([...NO_FORKS, 'head', 'list', 'show', 'drop', 'adopt']);

/** What the database keeps of a draft. */
interface Kept {
  readonly v: 1;
  /** The merge of `main` where it went off. */
  readonly base: Sha256;
  readonly created: number;
  readonly by: MemberId;
  readonly dropped?: number;
}

const metaOf = (name: string): string => `fork:${name}`;

export interface ForksParts extends Omit<ForkParts, 'store'> {
  readonly store: Store;
  /** The view of `main`. */
  readonly view: View;
  /** The appender of `main`. */
  readonly appender: Appender;
  readonly sessions: Sessions;
  readonly keyStore: KeyStore;
  /** Names as a draft knows them: people may be on it alone. */
  readonly namesOn: (fork: Fork) => Names;
  /** Puts what is durable into git now. */
  readonly flush: () => Promise<void>;
  /** One plain sentence for an entry; `open`: with names of persons. */
  readonly tell: (fork: Fork, row: EntryRow, open: boolean) => Promise<string>;
}

export class Forks implements ForkCases {
  private readonly loaded = new Map<string, Promise<Fork>>();
  /** Drafts whose head is being named in a claim just now. */
  private readonly closing = new Set<string>();

  constructor(private readonly parts: ForksParts) {}

  async stop(): Promise<void> {
    const forks = await Promise.all([...this.loaded.values()].map((fork) => fork.catch(() => null)));
    for (const fork of forks) await fork?.stop();
  }

  // Which there are ------------------------------------------------------------------------------------------------------

  private kept(name: string): Kept | null {
    const text = NAME.test(name) ? this.parts.store.meta(metaOf(name)) : null;
    return text === null || this.parts.store.ref(forkRef(name)) === null ? null : (JSON.parse(text) as Kept);
  }

  /** @throws TownError `no-such-fork` */
  private need(name: string): Kept {
    const kept = this.kept(name);
    if (kept) return kept;
    throw new TownError(
      'no-such-fork',
      `There is no draft "${name.slice(0, 40)}" at this node.`,
      'See town fork list; a draft lives on the node that made it.',
    );
  }

  private names(): readonly string[] {
    return this.parts.store
      .refs()
      .map(({ name }) => /^refs\/heads\/([^/]+)$/.exec(name)?.[1] ?? '')
      .filter((name) => this.kept(name) !== null);
  }

  private statusOf(name: string, kept: Kept): ForkStatus {
    const { main, view } = this.parts;
    if (readFork(main.state, name)) return 'adopted';
    if (kept.dropped !== undefined) return 'dropped';
    return this.closing.has(name) || readFork(view.state, name) ? 'adopting' : 'open';
  }

  /** @throws TownError `fork-closed` */
  private assertOpen(name: string): void {
    const status = this.statusOf(name, this.need(name));
    if (status === 'open') return;
    const why = { adopting: 'is about to come home', adopted: 'came home', dropped: 'was given up' }[status];
    throw new TownError(
      'fork-closed',
      `The draft "${name}" ${why}: nothing more is recorded on it.`,
      'Go on on main, or make a new draft: town fork NAME.',
    );
  }

  private baseOf({ base }: Kept): Head {
    const merge = this.parts.store.mergeById(base);
    if (!merge) throw new TownError('unknown-base', `The merge ${base.slice(0, 12)}… is not here any more.`);
    const { height, id, oid, time } = merge;
    return { height, id, oid, time };
  }

  /** The draft's heart; loaded from git where it was not used since the start. @throws TownError `no-such-fork` */
  open(name: string): Promise<Fork> {
    const kept = this.need(name);
    let fork = this.loaded.get(name);
    if (!fork) {
      fork = Fork.load(name, this.baseOf(kept), this.parts, () => this.assertOpen(name));
      this.loaded.set(name, fork);
      fork.catch(() => this.loaded.delete(name));
    }
    return fork;
  }

  // Use cases ------------------------------------------------------------------------------------------------------------

  async list(token: string): Promise<readonly ForkView[]> {
    this.parts.sessions.need(token);
    return Promise.all(this.names().map((name) => this.viewOf(name)));
  }

  private async viewOf(name: string): Promise<ForkView> {
    const { store, keys, readObject } = this.parts;
    const kept = this.need(name);
    const base = this.baseOf(kept);
    const oid = store.ref(forkRef(name)) ?? base.oid;
    const { fields } = parseCommit((await readObject(oid)).data);
    const inBlocks = store.blocksFrom(keys.id, name, 1, BLOCKS_MAX);
    const loose = store.entriesOf(keys.id, name, 'unblocked', ENTRIES_MAX);
    return {
      name,
      status: this.statusOf(name, kept),
      base: { height: base.height, id: base.id, oid: base.oid },
      head: { height: Number(parseTrailers(fields.message).get('Height')?.[0]), oid },
      created: kept.created,
      by: kept.by,
      entries: inBlocks.reduce((sum, block) => sum + block.entries, loose.length),
    };
  }

  async create(token: string, input: { name: string; from?: string | undefined }): Promise<ForkView> {
    const { store, sessions, clock } = this.parts;
    const session = sessions.needPermission(token, 'fork.create');
    const { name } = input;
    if (!NAME.test(name) || NOT_NAMES.has(name))
      throw new TownError(
        'bad-fork-name',
        `"${name.slice(0, 40)}" cannot be the name of a draft.`,
        `Take 1 to 32 of a-z, 0-9 and -, a letter first; not ${[...NOT_NAMES].join(', ')}.`,
      );
    if (this.kept(name) || readFork(this.parts.main.state, name))
      throw new TownError('fork-exists', `There is, or was, a draft "${name}".`, 'Take another name.');
    const names = this.names();
    const open = names.filter((each) => this.statusOf(each, this.need(each)) === 'open');
    if (open.length >= OPEN_MAX || names.length >= EVER_MAX)
      throw new TownError(
        'too-many-forks',
        `A node has at most ${OPEN_MAX} open drafts, and ${EVER_MAX} ever.`,
        'Bring one home or give one up: town fork adopt, town fork drop.',
      );
    const base = mergeNamed(store, input.from);
    const kept: Kept = { v: 1, base: base.id, created: clock.now(), by: session.member };
    await store.setMeta(metaOf(name), JSON.stringify(kept));
    await store.putRefs({ objects: [], refs: [{ name: forkRef(name), oid: base.oid }] });
    await this.open(name);
    await this.parts.flush();
    return this.viewOf(name);
  }

  async drop(token: string, name: string): Promise<ForkView> {
    const { store, sessions, clock } = this.parts;
    sessions.needPermission(token, 'fork.drop');
    this.assertOpen(name);
    const fork = await this.open(name);
    const kept: Kept = { ...this.need(name), dropped: clock.now() };
    await store.setMeta(metaOf(name), JSON.stringify(kept));
    // What was recorded and acknowledged goes into blocks, and so into git, as ever.
    await fork.blocks.cut();
    await this.parts.flush();
    return this.viewOf(name);
  }

  async show(token: string, name: string): Promise<ForkDetails> {
    const { store, keys, tell, sessions } = this.parts;
    const mayRead = sessions.may(sessions.need(token), 'membership.add');
    const kept = this.need(name);
    const fork = await this.open(name);
    const rows = await store.archive.entriesOf(keys.id, name, ENTRIES_MAX + 1);
    const status = this.statusOf(name, kept);
    const isStillOut = status === 'open' || status === 'adopting';
    const preview =
      isStillOut && rows.length > 0 && rows.length <= ENTRIES_MAX ? await this.tryOnMain(fork, rows) : null;
    const entryView = async (row: EntryRow): Promise<ForkEntryView> => {
      const draft = fork.verdictOf(row.id);
      const onMain = row.verdict === null ? preview?.verdicts.get(row.id) : judgementOf(row);
      return {
        id: row.id,
        type: row.type,
        at: row.at,
        says: await tell(fork, row, mayRead),
        onDraft: draft ? judgementOf(draft) : null,
        onMain: onMain ?? null,
      };
    };
    const entries = await Promise.all(rows.slice(0, ENTRIES_MAX).map(entryView));
    return { fork: await this.viewOf(name), entries, changes: preview?.changes ?? null };
  }

  /** What `main` would say of these entries now, each after the other, and what it would be then. Nothing is kept of it. */
  private async tryOnMain(
    fork: Fork,
    rows: readonly EntryRow[],
  ): Promise<{ readonly verdicts: ReadonlyMap<EntryId, ForkJudgement>; readonly changes: ForkChanges }> {
    const { main, manifests, contracts, keys, clock } = this.parts;
    const names = this.parts.namesOn(fork);
    const { head, town } = main;
    // As if the stewards had signed already.
    const state = new Overlay(main.state);
    const asked = { node: keys.id, head: fork.base.id, seq: 1, base: fork.base.id };
    const { entry, height } = { entry: fork.base.id as string as EntryId, height: head.height };
    writeFork(state, fork.name, { ...asked, entry, height });
    const entries = rows.map(({ bytes }) => verifyEntry(Buffer.from(bytes).toString('utf8')));
    const part: BranchPart = {
      node: keys.id,
      line: fork.name,
      tau: 0 as Millis,
      base: fork.base.id,
      blocks: [{ id: fork.base.id, seq: 1, entries }],
    };
    const result = await contracts.run(
      replay({
        ...{ town, line: main.line, height: head.height + 1, parent: head.id, state, manifests },
        time: Math.max(clock.now(), head.time + 1) as Millis,
        parts: [part],
        baseTime: (base) => main.timeOf(base),
      }),
    );
    return {
      verdicts: new Map(result.receipt.entries.map((entry) => [entry.id, judgementOf(entry)])),
      changes: changesOf(main.state, result.writes, (member) => names.ofMember(member)),
    };
  }

  async adopt(token: string, name: string, input: { cosigners: readonly Cosigner[] }): Promise<Recorded> {
    const { store, sessions, keys, appender } = this.parts;
    const session = sessions.needPermission(token, 'fork.adopt');
    this.assertOpen(name);
    const fork = await this.open(name);
    this.closing.add(name);
    try {
      // What is being recorded just now belongs to it still.
      await fork.view.settle();
      await fork.mergeNow();
      const last = store.lastBlock(keys.id, name);
      if (!last)
        throw new TownError(
          'fork-empty',
          `Nothing was recorded on the draft "${name}".`,
          `Work on it with: town --line ${name} …`,
        );
      const body = { line: name, node: keys.id, head: last.id, seq: last.seq, base: fork.base.id };
      return await withCosigners(this.parts.keyStore, input.cosigners, async (cosigners) =>
        recorded(await appender.claim('fork.adopt', body, session, cosigners)),
      );
    } finally {
      this.closing.delete(name);
    }
  }
}

const judgementOf = (of: {
  readonly verdict: string | null;
  readonly code?: string | null;
  readonly reason?: string | null;
  readonly other?: string | null;
}): ForkJudgement => ({
  verdict: of.verdict as ForkJudgement['verdict'],
  ...(of.code ? { code: of.code } : {}),
  ...(of.reason ? { reason: of.reason } : {}),
  ...(of.other ? { other: of.other } : {}),
});

/**
 * A merge of `main`, by height, git id or a start of its SHA-256; the head where nothing is named.
 * @throws TownError `no-such-merge`, `ambiguous`
 */
export function mergeNamed(store: MergeReads, from: string | undefined): MergeRow {
  const found = from === undefined ? [store.lastMerge()] : mergesNamed(store, from.trim().toLowerCase());
  const [merge] = found;
  if (found.length > 1)
    throw new TownError('ambiguous', `More than one merge begins with ${from}.`, 'Give more digits.');
  if (merge) return merge;
  throw new TownError(
    'no-such-merge',
    `There is no merge ${from ?? 'at all'} on main.`,
    'Name one by its height, its git id, or 8 or more digits of its id: town log --merges.',
  );
}

export type MergeReads = Pick<Store, 'lastMerge' | 'merge' | 'mergesByPrefix' | 'mergesByOid'>;

function mergesNamed(store: MergeReads, word: string): readonly (MergeRow | null)[] {
  if (/^[0-9]{1,7}$/.test(word)) return [store.merge(Number(word))];
  if (!/^[0-9a-f]{8,64}$/.test(word)) return [];
  return [...store.mergesByPrefix(word), ...(word.length <= 40 ? store.mergesByOid(word) : [])];
}
