/**
 * The town as a draft fork sees it, for whoever works there: people, members, credits, gigs and the charter by the draft's own
 * view. Doors, nodes and notices are those of `main`; what else changes something is done on `main` alone.
 */
import type { Charter, CharterChange } from '../ledger/charter.js';
import { parseTrailers, parseCommit } from '../ledger/git-object.js';
import type { JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import type { EntryRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Clock } from './clock.js';
import type { Fork } from './fork.js';
import type { ForkMerge } from './fork-merges.js';
import { Gigs } from './gigs.js';
import type { KeyStore, NodeKeys } from './key-files.js';
import { LedgerCases } from './ledger-cases.js';
import { Members } from './members.js';
import { Money } from './money.js';
import { Names } from './names.js';
import { People, recorded } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Sessions } from './sessions.js';
import { Standing } from './standing.js';
import type { EntryView, MergeView, Page, TownNode } from './use-cases.js';

const PAGE_MAX = 200;
const ENTRIES_OF_MERGE_MAX = 2000;

export interface ForkTownParts {
  readonly store: Store;
  readonly keys: NodeKeys;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
  readonly records: PrivateRecords;
  /** Of `main`: who is signed in there is signed in on every draft. */
  readonly sessions: Sessions;
  /** The town on `main`. */
  readonly town: TownNode;
  readonly url: () => string;
  /** Puts what is durable into git now. */
  readonly flush: () => Promise<void>;
  /** Throws where this build could not run the dapps of the charter after a change. */
  readonly assertCanRun: (charter: Charter, change: CharterChange) => void;
}

/** What a draft shows as `main` does, and what has nothing to do with a line. */
const AS_ON_MAIN: ReadonlySet<PropertyKey> = new Set([
  'status',
  'subscribe',
  'doors',
  'doorEvents',
  'notices',
  'readNotices',
  'branches',
  'graph',
  'nodes',
  'forks',
  'signOut',
]);

const mainOnly = (name: string, what: PropertyKey): TownError =>
  new TownError(
    'main-only',
    `"${String(what)}" is done on main, not on the draft "${name}".`,
    'Doors, badges at readers, nodes and keys always go by main: leave out --line, or switch back to main.',
  );

/** @returns what the API calls; everything that is neither here nor as on `main` is refused with `main-only` */
export function forkTown(fork: Fork, parts: ForkTownParts): TownNode {
  const own: Partial<TownNode> = ownCases(fork, parts);
  return new Proxy(parts.town, {
    get(main, what) {
      if (Object.hasOwn(own, what)) return own[what as keyof TownNode];
      const value: unknown = Reflect.get(main, what);
      if (value === undefined) return undefined;
      if (AS_ON_MAIN.has(what)) return typeof value === 'function' ? value.bind(main) : value;
      if (typeof value === 'function') return () => Promise.reject(mainOnly(fork.name, what));
      throw mainOnly(fork.name, what);
    },
  });
}

function ownCases(fork: Fork, parts: ForkTownParts): Partial<TownNode> {
  const { store, keys, keyStore, clock, records, url } = parts;
  const { line: main, view, appender } = fork;
  const sessions = parts.sessions.on(main, view);
  const names = new Names(view, records, keyStore);
  const people = new People(view, main, appender, records, names, sessions, keys, clock);
  const members = new Members({
    ...{ store, main, view, appender, records, names, people, sessions, keyStore, keys, clock, url },
  });
  const gigs = new Gigs(view, main, appender, names, sessions, clock);
  const settled = (): Promise<void> => Promise.resolve();
  const ledger = new ForkLedger(
    fork,
    parts,
    sessions,
    new LedgerCases(store, main, view, records, names, sessions),
  );
  return {
    signIn: ({ name, passphrase }) => sessions.signIn(name, passphrase),
    session: (token, peek = false) => sessions.look(token, peek),
    people: async (s) => people.list(s),
    addPerson: (s, input) => people.add(s, input),
    suspendPerson: (s, person, reason) => people.suspend(s, person, reason),
    reinstatePerson: (s, person) => people.reinstate(s, person),
    enrolBadge: (s, input) => people.enrolNumber(s, input),
    revokeBadge: (s, badge, reason) => people.revoke(s, badge, reason),
    members: async (s) => members.list(s),
    inviteMember: (s, input) => members.invite(s, input),
    join: (input) => members.join(input),
    transfer: (s, input) => members.transfer(s, input),
    grant: (s, input) => members.grant(s, input),
    gigs: async (s) => gigs.list(s),
    openGig: (s, input) => gigs.open(s, input),
    gigStep: (s, gig, step, input) => gigs.step(s, gig, step, input),
    money: new Money({ main, view, appender, records, names, sessions, keyStore, keys, clock, settled }),
    standing: new Standing({ view, appender, records, sessions, clock, settled }),
    charter: async () => main.charter as unknown as JsonObject,
    changeCharter: async (s, { set, remove }) => {
      const session = sessions.needPermission(s, 'charter.change');
      parts.assertCanRun(readCharter(view.state), { set, remove });
      return recorded(await appender.claim('charter.change', { set, remove: [...remove] }, session));
    },
    log: (s, input) => ledger.log(s, input),
    merges: (s, input) => ledger.merges(s, input),
    show: (s, id) => ledger.show(s, id),
    mergeNow: (s) => ledger.mergeNow(s),
  };
}

/** What was recorded and merged on a draft. */
class ForkLedger {
  constructor(
    private readonly fork: Fork,
    private readonly parts: ForkTownParts,
    private readonly sessions: Sessions,
    private readonly cases: LedgerCases,
  ) {}

  async log(token: string, input: { limit: number; before?: string | undefined }): Promise<Page<EntryView>> {
    const session = this.sessions.need(token);
    const { store, keys } = this.parts;
    const { name } = this.fork;
    const limit = Math.min(Math.max(input.limit, 1), PAGE_MAX);
    const end = input.before === undefined ? store.lastN(keys.id, name) + 1 : Number(input.before);
    if (!Number.isSafeInteger(end))
      throw new TownError('bad-page', '"before" is what the last page gave as "next".', 'Begin without it.');
    // Numbers of refused claims are missing: a page may be shorter than was asked for.
    const first = Math.max(0, end - limit);
    const found = await store.archive.entriesOf(keys.id, name, limit, first - 1);
    const rows = found.filter(({ n }) => n < end);
    const open = this.sessions.may(session, 'membership.add');
    const items = await Promise.all(rows.toReversed().map((row) => this.entryView(row, open)));
    return { items, next: first > 1 ? String(first) : null };
  }

  /** An entry with what the draft says of it, until `main` says something itself. */
  private async entryView(row: EntryRow, open: boolean): Promise<EntryView> {
    const verdict = row.verdict === null ? this.fork.verdictOf(row.id) : undefined;
    if (!verdict) return this.cases.entryView(row, open);
    const { code = null, reason = null, other = null, merge } = verdict;
    const state = verdict.verdict === 'rejected' ? 'rejected' : 'merged';
    const judged: EntryRow = { ...row, state, verdict: verdict.verdict, code, reason, other, height: null };
    return { ...this.cases.entryView(judged, open), merge: merge.id, height: merge.height };
  }

  async merges(
    token: string,
    input: { limit: number; before?: number | undefined },
  ): Promise<Page<MergeView>> {
    this.sessions.need(token);
    const limit = Math.min(Math.max(input.limit, 1), PAGE_MAX);
    const below = this.fork.merges.filter(({ merge }) => merge.height < (input.before ?? Infinity));
    const items = below.slice(-limit).reverse();
    const last = items[items.length - 1];
    return {
      items: items.map((merge) => this.mergeView(merge)),
      next: below.length > items.length && last ? String(last.merge.height) : null,
    };
  }

  private mergeView({ merge, entries }: ForkMerge): MergeView {
    const { store } = this.parts;
    const count = (verdict: string): number => entries.filter((entry) => entry.verdict === verdict).length;
    const trailers = parseTrailers(parseCommit(merge.raw).fields.message);
    return {
      ...{ height: merge.height, id: merge.id, oid: merge.oid, content: merge.content, time: merge.time },
      by: merge.node,
      heads: merge.heads.map((id) => ({
        node: store.block(id)?.node ?? merge.node,
        id,
        entries: entries.length,
      })),
      counts: { accepted: count('accepted'), rejected: count('rejected'), irregular: count('irregular') },
      testedBy: (trailers.get('Tested-by') ?? []).map((line) => line.split(' ')[0] as string),
      // A draft is merged by its node alone: nobody attests it.
      attestedBy: [],
    };
  }

  async show(token: string, id: string): Promise<Awaited<ReturnType<TownNode['show']>>> {
    const session = this.sessions.need(token);
    const prefix = id.toLowerCase();
    const merge = this.fork.merges.find(
      ({ merge: { id: sha256, oid } }) => sha256.startsWith(prefix) || oid.startsWith(prefix),
    );
    if (merge && prefix.length >= 8)
      return {
        kind: 'merge',
        merge: { ...this.mergeView(merge), entries: await this.entriesOf(merge, token) },
      };
    const isId = /^[0-9a-f]{8,64}$/.test(prefix);
    const rows = isId ? await this.parts.store.archive.entriesByPrefix(prefix) : [];
    const [row] = rows;
    if (rows.length !== 1 || row?.line !== this.fork.name) return this.parts.town.show(token, id);
    return {
      kind: 'entry',
      entry: await this.entryView(row, this.sessions.may(session, 'membership.add')),
    };
  }

  private async entriesOf({ entries }: ForkMerge, token: string): Promise<readonly EntryView[]> {
    const open = this.sessions.may(this.sessions.need(token), 'membership.add');
    const views: EntryView[] = [];
    // One after the other: entries of one block in the archive are read from git once.
    for (const { id } of entries.slice(0, ENTRIES_OF_MERGE_MAX)) {
      const row = await this.parts.store.archive.entry(id);
      if (row) views.push(await this.entryView(row, open));
    }
    return views;
  }

  async mergeNow(token: string): Promise<MergeView | null> {
    this.sessions.needPermission(token, 'ledger.merge');
    if (!(await this.fork.mergeNow())) return null;
    await this.parts.flush();
    const last = this.fork.merges[this.fork.merges.length - 1];
    return last ? this.mergeView(last) : null;
  }
}
