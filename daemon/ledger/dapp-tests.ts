/**
 * The dapps' tests of a merge, and who loses by a veto. What a test refuses goes; where nothing of the dapp is left to go, the change
 * of the charter that brought it about goes, and where there is none the dapp itself is suspended: no dapp stops the town.
 */
import { canonicalize } from './canonical.js';
import { parseCharter, type Charter } from './charter.js';
import type { ToContract } from './contract-protocol.js';
import { dappOf } from './entry.js';
import type { EntryId } from './ids.js';
import {
  contractContext,
  converse,
  keptText,
  kindOf,
  manifestOf,
  type Dialogue,
  type EntryContext,
  type Manifests,
  type Verdict,
} from './judge.js';
import { KERNEL, readCharter } from './kernel.js';
import { kernelRule } from './kernel-rules.js';
import type { Overlay, StateReader, StateWrite } from './state.js';
import { workingDapps } from './suspended-dapps.js';

/** Times a dapp's test may name who is to go; then all that the dapp has in this merge goes. */
const PASSES_MAX = 3;
/** Its entries are what the town is governed by: no other dapp's test takes them away. */
const GOVERNANCE = 'governance';

/** A merge as far as it was replayed. */
export interface Tested {
  readonly state: Overlay;
  /** In the order of the receipt. */
  readonly receipt: readonly (Verdict & { readonly id: EntryId; readonly type: string })[];
  readonly writesOf: ReadonlyMap<EntryId, readonly StateWrite[]>;
}

export interface Veto {
  readonly dapp: string;
  /** Whom it names. */
  readonly entries: readonly string[];
  readonly reason: string;
}

/** Runs the test of each dapp that works after the entries, in charter order; the first veto is returned. */
export function* testAll(
  tested: Tested,
  { town, height, time, manifests }: Pick<EntryContext, 'town' | 'height' | 'time' | 'manifests'>,
): Dialogue<Veto | null> {
  const { state } = tested;
  const charter = readCharter(state);
  for (const { name } of workingDapps(state, charter)) {
    const entries = inReach(name, tested, manifests).map(({ id }) => id);
    const call: ToContract = {
      t: 'test',
      id: 1,
      entries,
      ctx: contractContext(name, charter, { town, height, time, tau: time }),
    };
    const result = yield* converse(call, name, state, manifestOf(name, manifests));
    if (result.t === 'pass') continue;
    if (result.t === 'veto') return { dapp: name, entries: result.entries, reason: keptText(result.reason) };
    const why = result.t === 'error' ? keptText(result.message) : `it answered "${result.t}"`;
    return { dapp: name, entries: [], reason: `its test failed: ${why}` };
  }
  return null;
}

/**
 * What a dapp's test may veto: entries that were not refused, of its own types, and those that changed the state of another dapp that
 * its manifest says it reads. Never what the kernel judges, nor governance.
 */
function inReach(dapp: string, { receipt, writesOf }: Tested, manifests: Manifests): Tested['receipt'] {
  const { reads } = manifestOf(dapp, manifests);
  const touches = ({ id }: { readonly id: EntryId }): boolean =>
    (writesOf.get(id) ?? []).some((write) => write.dapp !== KERNEL && reads.includes(write.dapp));
  return receipt.filter((one) => {
    const by = dappOf(one.type);
    if (one.verdict === 'rejected') return false;
    return by === dapp || (by !== GOVERNANCE && !kernelRule(one.type) && touches(one));
  });
}

/** Of which dapps' tests how many vetoes were heard, and who has lost by them. */
export class Vetoes {
  readonly lost = new Map<EntryId, Verdict>();
  readonly suspended = new Map<string, string>();
  private readonly passes = new Map<string, number>();

  constructor(
    private readonly parent: StateReader,
    private readonly manifests: Manifests,
  ) {}

  /** Takes in a veto: afterwards somebody more has lost, or the dapp is suspended; so the replays of a merge come to an end. */
  add({ dapp, entries, reason }: Veto, tested: Tested): void {
    const pass = (this.passes.get(dapp) ?? 0) + 1;
    this.passes.set(dapp, pass);
    const reach = inReach(dapp, tested, this.manifests).filter(({ id }) => !this.lost.has(id));
    const own = reach.filter(({ type }) => dappOf(type) === dapp);
    const named = pass < PASSES_MAX ? reach.filter(({ id }) => entries.includes(id)) : [];
    for (const { id, type } of named.length > 0 ? named : this.unnamed(dapp, reason, tested, own)) {
      const verdict = kindOf(type, this.manifests) === 'fact' ? 'irregular' : 'rejected';
      this.lost.set(id, { verdict, code: 'veto', reason: `The tests of ${dapp} refused it: ${reason}` });
    }
  }

  /**
   * Who goes by a veto that names nobody. The state must become sound: first a change of the charter about this dapp goes, for the
   * others were judged by it; then all that the dapp has in this merge; then the dapp. @returns whom the veto itself takes
   */
  private unnamed(dapp: string, reason: string, tested: Tested, own: Tested['receipt']): Tested['receipt'] {
    const changes = charterChanges(dapp, this.parent, tested);
    for (const id of changes)
      this.lost.set(id, {
        verdict: 'rejected',
        code: 'dapp-tests-fail',
        reason: `With this charter the tests of ${dapp} do not pass: ${reason}`,
      });
    if (changes.length > 0) return [];
    if (own.length === 0) this.suspended.set(dapp, reason);
    return own;
  }
}

/** The entries of a merge that changed what the charter says of a dapp. */
function charterChanges(
  dapp: string,
  parent: StateReader,
  { receipt, writesOf }: Tested,
): readonly EntryId[] {
  const entryIn = (charter: Charter): string =>
    canonicalize(charter.dapps.find(({ name }) => name === dapp) ?? null);
  let last = entryIn(readCharter(parent));
  return receipt.flatMap(({ id }) => {
    const write = writesOf
      .get(id)
      ?.find(({ dapp: of, collection }) => of === KERNEL && collection === 'charter');
    if (!write || write.value === null) return [];
    const next = entryIn(parseCharter(JSON.parse(write.value)));
    const isChange = next !== last;
    last = next;
    return isChange ? [id] : [];
  });
}
