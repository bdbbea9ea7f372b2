/**
 * Replay: the state after a merge as a pure function of the state before it and the entries folded in.
 * No clock, no randomness, no I/O: it is a generator that yields messages for the dapps' contracts and takes their
 * messages from whoever drives it.
 */
import { canonicalize } from './canonical.js';
import { testAll, Vetoes } from './dapp-tests.js';
import { expire } from './expiries.js';
import { sha256 } from './hash.js';
import type { EntryId, Millis, NodeId, Sha256 } from './ids.js';
import { TownError, invariant } from './ids.js';
import {
  enabledManifests,
  isRestrictive,
  judgeEntry,
  maySpeak,
  rejected,
  type Dialogue,
  type EntryContext,
  type Judged,
  type Manifests,
  type Verdict,
} from './judge.js';
import { readCharter } from './kernel.js';
import { assertContinues, resumptionOf, seqAfter } from './kernel-evidence.js';
import { foldableTo, readFork } from './kernel-forks.js';
import {
  branchName,
  orderEntries,
  readBranch,
  type BranchMark,
  type BranchPart,
  type OrderedEntry,
} from './order.js';
import { recover, type RecoveryStatement } from './recovery.js';
import { Overlay, writeJson, type StateReader, type StateWrite } from './state.js';
import { assertConserved } from './supply.js';
import { liftSuspensions, suspendDapp, workingDapps } from './suspended-dapps.js';
import { Writers } from './trace.js';

export interface ReceiptEntry extends Verdict {
  readonly id: EntryId;
  readonly node: NodeId;
  readonly n: number;
  readonly type: string;
  /** SHA-256 of the canonical list of what it wrote. */
  readonly writes: Sha256;
}

export interface Receipt {
  readonly height: number;
  /** In the order of the replay. */
  readonly entries: readonly ReceiptEntry[];
  readonly expired: readonly string[];
  readonly notices: readonly { readonly member: string; readonly entry: EntryId; readonly text: string }[];
}

export interface ReplayInput {
  readonly town: Sha256;
  readonly line: string;
  readonly height: number;
  /** T: the merge's time, above its parent's. */
  readonly time: Millis;
  readonly parent: Sha256;
  readonly state: StateReader;
  readonly parts: readonly BranchPart[];
  readonly baseTime: (base: Sha256) => Millis;
  readonly manifests: Manifests;
  /** With the first merge of an epoch, what began it; checked. */
  readonly recovery?: RecoveryStatement | undefined;
}

export interface ReplayResult {
  readonly writes: readonly StateWrite[];
  readonly receipt: Receipt;
  /** `<dapp>@<version> sha256:<digest>` of the tests that passed, in charter order. */
  readonly testedBy: readonly string[];
  /** What each entry wrote, in the order of the receipt; for who wants to tell it. */
  readonly writesOf?: ReadonlyMap<EntryId, readonly StateWrite[]>;
}

/** Replays a merge. The tests of all dapps are part of it: what they veto is rejected, and the replay starts again. */
export function* replay(input: ReplayInput): Dialogue<ReplayResult> {
  assertFolded(input);
  const vetoes = new Vetoes(input.state, input.manifests);
  for (;;) {
    const attempt = yield* replayOnce(input, vetoes);
    const veto = yield* testAll(attempt, input);
    if (!veto) return finish(input, attempt);
    vetoes.add(veto, attempt);
  }
}

interface Attempt {
  readonly state: Overlay;
  readonly receipt: ReceiptEntry[];
  readonly expired: readonly string[];
  readonly notices: { member: string; entry: EntryId; text: string }[];
  readonly writesOf: Map<EntryId, readonly StateWrite[]>;
}

function* replayOnce(input: ReplayInput, { lost, suspended }: Vetoes): Dialogue<Attempt> {
  const state = new Overlay(input.state);
  if (input.recovery) recover(state, input.recovery);
  const receipt: ReceiptEntry[] = [];
  const notices: Attempt['notices'] = [];
  const writesOf: Attempt['writesOf'] = new Map();
  const writers = new Writers();
  const { parent, time, baseTime } = input;
  const ordered = orderEntries(input.parts.map(withBase(input)), parent, time, baseTime);
  const enabled = enabledManifests(readCharter(input.state), input.manifests);
  const { validators } = readCharter(state);
  // Who has no say yet on the parent state (joined or promoted in this very merge) waits for their own place.
  const goesFirst = ({ entry }: OrderedEntry): boolean =>
    isRestrictive(entry, enabled) && maySpeak(entry, input.state, enabled);
  const restrictive = ordered.filter(goesFirst);
  const others = ordered.filter((one) => !goesFirst(one));
  const again = repeated(input, ordered);

  const judge = function* (list: readonly OrderedEntry[], authority: StateReader): Dialogue<void> {
    for (const one of list) {
      const { entry, line, tau } = one;
      const { town, height, manifests } = input;
      const context: EntryContext = {
        town,
        line,
        height,
        time,
        tau,
        manifests,
        authority,
        arrival: 'spendable',
        validators,
        baseTime,
      };
      const early = again.get(one) ?? lost.get(entry.id);
      const judged: Judged = early
        ? { verdict: early, writes: [], notices: [] }
        : yield* judgeEntry(entry, state, context);
      const { id, node, n, type } = entry;
      const other = writers.latest(judged.hinge ?? []);
      const verdict = other === undefined ? judged.verdict : { ...judged.verdict, other };
      receipt.push({ id, node, n, type, ...verdict, writes: hashWrites(judged.writes) });
      writers.note(id, judged.writes);
      if (!early) writesOf.set(id, judged.writes);
      for (const notice of judged.notices) notices.push({ ...notice, entry: id });
    }
  };
  yield* judge(restrictive, input.state);
  yield* judge(others, state);
  const expired = expire(state, input.time);
  markBranches(state, input, ordered);
  liftSuspensions(state);
  for (const [dapp, reason] of suspended) suspendDapp(state, dapp, { height: input.height, time, reason });
  return { state, receipt, expired, notices, writesOf };
}

/**
 * Which blocks a merge may fold in: of nodes that are not suspended, each branch from where it was merged and without a gap,
 * and of another line only what the town adopted of it.
 * @throws TownError `bad-merge`
 */
function assertFolded({ parts, state, line }: ReplayInput): void {
  for (const part of parts) {
    assertContinues(part, state);
    const last = part.blocks[part.blocks.length - 1];
    const end = part.line === line ? Infinity : foldableTo(state, part.node, part.line);
    const isOtherHead = last?.seq === end && last.id !== readFork(state, part.line)?.head;
    if (last === undefined || last.seq > end || isOtherHead)
      throw new TownError(
        'bad-merge',
        `The merge folds in blocks of ${part.node} on ${part.line} that the town did not adopt.`,
      );
  }
}

/** A fork that came home carries the merge where it went off: the times of its entries begin there. */
const withBase =
  ({ line, state }: ReplayInput) =>
  (part: BranchPart): BranchPart => {
    const fork = part.line === line ? undefined : readFork(state, part.line);
    return fork ? { ...part, base: fork.base } : part;
  };

const hashWrites = (writes: readonly StateWrite[]): Sha256 => sha256(canonicalize(writes));

/**
 * An id applies once: a running number at or below what its branch has had, in an earlier merge or an earlier block of
 * this one, is a repetition. The order keeps each branch's own.
 */
function repeated(input: ReplayInput, ordered: readonly OrderedEntry[]): ReadonlyMap<OrderedEntry, Verdict> {
  const highest = new Map<string, number>();
  const again = new Map<OrderedEntry, Verdict>();
  for (const one of ordered) {
    const { node, n } = one.entry;
    const branch = branchName(node, one.line);
    const last = highest.get(branch) ?? readBranch(input.state, node, one.line)?.n ?? 0;
    if (n <= last) again.set(one, rejected('duplicate', `Entry ${n} of this branch was merged before.`));
    highest.set(branch, Math.max(last, n));
  }
  return again;
}

function markBranches(state: Overlay, input: ReplayInput, ordered: readonly OrderedEntry[]): void {
  for (const { node, line, blocks, tau } of input.parts) {
    const last = blocks[blocks.length - 1];
    invariant(last !== undefined, 'a merge folds in at least one block of each branch it names');
    let highest = readBranch(input.state, node, line)?.n ?? 0;
    let latest: number = tau;
    for (const { entry, line: of, tau: at } of ordered)
      if (entry.node === node && of === line) {
        highest = Math.max(highest, entry.n);
        latest = Math.max(latest, at);
      }
    // Where a readmission left out numbers, the mark stands before the one that is next.
    const seq = seqAfter(last, resumptionOf(state, node, line)) - 1;
    const mark: BranchMark = { head: last.id, seq, n: highest, tau: latest };
    writeJson(state, 'kernel', 'branches', branchName(node, line), mark);
  }
}

function finish(input: ReplayInput, { state, receipt, expired, notices, writesOf }: Attempt): ReplayResult {
  const writes = state.writes();
  assertConserved(input.state, writes);
  const charter = readCharter(state);
  return {
    writes,
    writesOf,
    receipt: { height: input.height, entries: receipt, expired, notices },
    testedBy: workingDapps(state, charter).map(
      ({ name, version, digest }) => `${name}@${version} sha256:${digest}`,
    ),
  };
}
