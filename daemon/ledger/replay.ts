/**
 * Replay: the state after a merge as a pure function of the state before it and the entries folded in.
 * No clock, no randomness, no I/O: it is a generator that yields messages for the dapps' contracts and takes their
 * messages from whoever drives it.
 */
import { assertConserved, expireLocks, move, type Arrival, type Movement } from './accounts.js';
import { canonicalize } from './canonical.js';
import { permits, type Charter } from './charter.js';
import type {
  ContractContext,
  ContractEntry,
  DappManifest,
  FromContract,
  ToContract,
} from './contract-protocol.js';
import { dappOf, verbOf, type VerifiedEntry } from './entry.js';
import { sha256 } from './hash.js';
import type { EntryId, Json, JsonObject, Millis, NodeId, Sha256 } from './ids.js';
import { TownError, invariant } from './ids.js';
import {
  KERNEL_RESTRICTIVE,
  applyKernelEntry,
  isKernelType,
  isOpenKernelType,
  readCharter,
  speakerOf,
  type Speaker,
} from './kernel.js';
import { branchName, orderEntries, type BranchMark, type BranchPart, type OrderedEntry } from './order.js';
import { Overlay, readJson, writeJson, type StateReader, type StateWrite } from './state.js';

/** A message for one dapp's contract; the answer is that contract's next message. */
export interface Question {
  readonly dapp: string;
  readonly message: ToContract;
}

export type Dialogue<Result> = Generator<Question, Result, FromContract>;

export interface Verdict {
  readonly verdict: 'accepted' | 'rejected' | 'irregular';
  readonly code?: string;
  readonly reason?: string;
  /** The entry or rule that this one lost to. */
  readonly other?: string;
}

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

export type Manifests = ReadonlyMap<string, DappManifest>;

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
}

export interface ReplayResult {
  readonly writes: readonly StateWrite[];
  readonly receipt: Receipt;
  /** `<dapp>@<version> sha256:<digest>` of the tests that passed, in charter order. */
  readonly testedBy: readonly string[];
}

/** Bounds on what one call of a contract may do. */
const READS_MAX = 10_000;
const WRITES_MAX = 64;
const POSTINGS_MAX = 64;
const NOTICES_MAX = 16;
const TEXT_MAX = 500;
const LIST_MAX = 256;
/** A page of a `list` stays well below the longest line of the protocol. */
const PAGE_BYTES_MAX = 512 * 1024;
const PASSES_MAX = 3;

const rejected = (code: string, reason: string, other?: string): Verdict => ({
  verdict: 'rejected',
  code,
  reason,
  ...(other === undefined ? {} : { other }),
});

/** What the judging of one entry needs to know. */
export interface EntryContext {
  readonly town: Sha256;
  readonly line: string;
  readonly height: number;
  readonly time: Millis;
  readonly tau: Millis;
  readonly manifests: Manifests;
  /** Who may say what is judged on this state. */
  readonly authority: StateReader;
  readonly arrival: Arrival;
}

/** Whether an entry revokes, suspends or locks down, and so goes first. */
export function isRestrictive(entry: { readonly type: string }, manifests: Manifests): boolean {
  if (KERNEL_RESTRICTIVE.has(entry.type)) return true;
  return manifests.get(dappOf(entry.type))?.verbs[verbOf(entry.type)]?.restrictive === true;
}

/** A claim asks; a fact is what a node saw. Undefined: no such type. */
export function kindOf(type: string, manifests: Manifests): 'claim' | 'fact' | undefined {
  return isKernelType(type) ? 'claim' : manifests.get(dappOf(type))?.verbs[verbOf(type)]?.kind;
}

export interface Judged {
  readonly verdict: Verdict;
  readonly writes: readonly StateWrite[];
  readonly notices: readonly { readonly member: string; readonly text: string }[];
}

/**
 * Judges one entry on a state and, where it is accepted, changes it; a rejected one leaves no trace.
 * Facts are never rejected by a contract: what broke a rule is irregular.
 */
export function* judgeEntry(entry: VerifiedEntry, state: Overlay, context: EntryContext): Dialogue<Judged> {
  const own = new Overlay(state);
  const charter = readCharter(state);
  const done = (verdict: Verdict, notices: Judged['notices'] = []): Judged => {
    if (verdict.verdict === 'rejected') return { verdict, writes: [], notices: [] };
    const writes = own.writes();
    own.settle();
    return { verdict, writes, notices };
  };
  if (entry.town !== context.town || entry.line !== context.line)
    return done(rejected('other-town', 'The entry is for another town or line.'));
  const kind = kindOf(entry.type, context.manifests);
  if (kind === undefined)
    return done(
      rejected('unknown-type', `Nobody here judges "${entry.type}": the charter has no such dapp or verb.`),
    );
  if (
    !isKernelType(entry.type) &&
    !charter.dapps.some(({ name, enabled }) => enabled && name === dappOf(entry.type))
  )
    return done(rejected('dapp-disabled', `The dapp ${dappOf(entry.type)} is not enabled in the charter.`));
  const speaker = speakerOf(charter, context.authority, entry.by);
  const refusal = mayNotSpeak(entry, kind, speaker, charter);
  if (refusal) return done(refusal);
  if (isKernelType(entry.type)) {
    const { authority, time, tau, arrival } = context;
    const refused = applyKernelEntry(entry, own, { charter, authority, time, tau, arrival });
    return done(refused ? rejected(refused.code, refused.reason) : { verdict: 'accepted' });
  }
  const outcome = yield* askContract(entry, own, speaker, charter, context);
  if (kind === 'fact' && outcome.verdict.verdict === 'rejected')
    return done({ ...outcome.verdict, verdict: 'irregular' });
  return done(outcome.verdict, outcome.notices);
}

/** Whether the author of an entry has the say it needs on a state. */
function maySpeak(entry: VerifiedEntry, state: StateReader, manifests: Manifests): boolean {
  const charter = readCharter(state);
  const kind = kindOf(entry.type, manifests) ?? 'claim';
  return mayNotSpeak(entry, kind, speakerOf(charter, state, entry.by), charter) === null;
}

function mayNotSpeak(
  entry: VerifiedEntry,
  kind: 'claim' | 'fact',
  speaker: Speaker,
  charter: Charter,
): Verdict | null {
  if (kind === 'fact')
    return speaker.kind === 'node' && speaker.node === entry.node
      ? null
      : rejected('not-the-node', 'A fact is signed by the node that saw it.');
  if (isOpenKernelType(entry.type)) return null;
  switch (speaker.kind) {
    case 'revoked':
      return rejected('key-revoked', 'The key that signed this was revoked before it was merged.');
    case 'unknown':
      return rejected('unknown-key', 'The key that signed this belongs to nobody in this town.');
    case 'node':
      return rejected('members-only', 'Claims are made by members, not by nodes.');
    case 'member':
      return permits(charter, speaker.member.roles, entry.type)
        ? null
        : rejected(
            'not-allowed',
            `The charter does not allow "${entry.type}" to ${speaker.member.roles.join(', ') || 'nobody in particular'}.`,
          );
  }
}

function contractContext(dapp: string, charter: Charter, context: EntryContext): ContractContext {
  const { town, height, time, tau } = context;
  const parameters = (charter.dapps.find(({ name }) => name === dapp)?.parameters ?? {}) as JsonObject;
  return { town, height, time, tau, parameters };
}

/** Answers the questions of one call until the contract gives its result. */
function* converse(
  first: ToContract,
  dapp: string,
  state: StateReader,
  manifest: DappManifest,
): Dialogue<FromContract> {
  let message = yield { dapp, message: first };
  for (let reads = 0; ; reads += 1) {
    if (message.t !== 'get' && message.t !== 'list') return message;
    message = yield { dapp, message: answer(message, first.id, dapp, state, manifest, reads) };
  }
}

function answer(
  question: FromContract & { readonly t: 'get' | 'list' },
  id: number,
  self: string,
  state: StateReader,
  manifest: DappManifest,
  reads: number,
): ToContract {
  const refused = (code: string, message: string): ToContract => ({ t: 'refused', id, code, message });
  const dapp = question.dapp ?? self;
  if (reads >= READS_MAX) return refused('too-many-reads', `One call may ask ${READS_MAX} times.`);
  if (dapp !== self && !manifest.reads.includes(dapp))
    return refused('not-declared', `The manifest does not say that it reads "${dapp}".`);
  if (question.t === 'get') {
    const text = state.get(dapp, question.collection, question.key);
    return { t: 'value', id, value: text === undefined ? null : (JSON.parse(text) as Json) };
  }
  const limit = Math.min(question.limit ?? LIST_MAX, LIST_MAX);
  const keys = state.keys(dapp, question.collection, question.after ?? '', limit);
  const items: { readonly key: string; readonly value: Json }[] = [];
  let bytes = 0;
  for (const key of keys) {
    const text = state.get(dapp, question.collection, key) as string;
    bytes += key.length + Buffer.byteLength(text);
    if (items.length > 0 && bytes > PAGE_BYTES_MAX) break;
    items.push({ key, value: JSON.parse(text) as Json });
  }
  const isAll = items.length === keys.length && keys.length < limit;
  return { t: 'page', id, items, next: isAll ? null : (keys[items.length - 1] ?? null) };
}

function* askContract(
  entry: VerifiedEntry,
  own: Overlay,
  speaker: Speaker,
  charter: Charter,
  context: EntryContext,
): Dialogue<{ readonly verdict: Verdict; readonly notices: Judged['notices'] }> {
  const dapp = dappOf(entry.type);
  const manifest = context.manifests.get(dapp) as DappManifest;
  const none = (verdict: Verdict) => ({ verdict, notices: [] });
  const member = speaker.kind === 'member' ? speaker.member : null;
  const told: ContractEntry = {
    id: entry.id,
    type: entry.type,
    node: entry.node,
    n: entry.n,
    at: entry.at,
    author: { member: member?.id ?? null, roles: member?.roles ?? [], key: entry.by },
    body: entry.body,
  };
  const call: ToContract = { t: 'apply', id: 1, entry: told, ctx: contractContext(dapp, charter, context) };
  const result = yield* converse(call, dapp, own, manifest);
  if (result.t === 'reject') return none(rejected(result.code, result.reason.slice(0, TEXT_MAX)));
  if (result.t === 'error')
    return none(
      rejected('contract-error', `The contract of ${dapp} failed: ${result.message.slice(0, TEXT_MAX)}`),
    );
  if (result.t !== 'accept')
    return none(rejected('contract-error', `The contract of ${dapp} answered "${result.t}" to an entry.`));
  const { writes, postings, notices, irregular } = result;
  if (writes.length > WRITES_MAX || postings.length > POSTINGS_MAX || notices.length > NOTICES_MAX)
    return none(
      rejected(
        'contract-error',
        `The contract of ${dapp} wants more writes, postings or notices than one entry may.`,
      ),
    );
  try {
    for (const { collection, key, value } of writes)
      own.put(dapp, collection, key, value === null ? null : canonicalize(value));
  } catch (error) {
    if (error instanceof TownError) return none(rejected('contract-error', error.message));
    throw error;
  }
  const grantsVault = charter.dapps.find(({ name }) => name === dapp)?.vault === true;
  const mayDebit = (account: string): boolean =>
    (member !== null && account === `member.${member.id}`) || (grantsVault && account === 'vault');
  const refused = move(own, dapp, postings as readonly Movement[], mayDebit, context.arrival);
  if (refused) return none(rejected(refused.code, refused.reason));
  const verdict: Verdict =
    irregular === undefined
      ? { verdict: 'accepted' }
      : { verdict: 'irregular', code: irregular.code, reason: irregular.reason.slice(0, TEXT_MAX) };
  return {
    verdict,
    notices: notices.map(({ member: to, text }) => ({ member: to, text: text.slice(0, TEXT_MAX) })),
  };
}

/**
 * Asks a dapp's read-only question on a state.
 * @throws TownError `query-failed`
 */
export function* askQuery(
  dapp: string,
  name: string,
  args: JsonObject,
  state: StateReader,
  context: EntryContext,
): Dialogue<Json> {
  const manifest = context.manifests.get(dapp);
  if (!manifest?.queries.includes(name))
    throw new TownError('query-failed', `The dapp ${dapp} does not answer "${name}".`);
  const call: ToContract = {
    t: 'query',
    id: 1,
    name,
    args,
    ctx: contractContext(dapp, readCharter(state), context),
  };
  const result = yield* converse(call, dapp, state, manifest);
  if (result.t === 'result') return result.value;
  throw new TownError(
    'query-failed',
    `The dapp ${dapp} did not answer "${name}": ${'message' in result ? result.message : result.t}`,
  );
}

/** Replays a merge. The tests of all dapps are part of it: what they veto is rejected, and the replay starts again. */
export function* replay(input: ReplayInput): Dialogue<ReplayResult> {
  const vetoed = new Map<EntryId, Verdict>();
  for (let pass = 1; ; pass += 1) {
    const attempt = yield* replayOnce(input, vetoed);
    const veto = yield* testAll(input, attempt);
    if (!veto) return finish(input, attempt);
    const mine = attempt.receipt.filter(
      ({ id, type, verdict }) => dappOf(type) === veto.dapp && verdict !== 'rejected' && !vetoed.has(id),
    );
    const named = pass < PASSES_MAX ? mine.filter(({ id }) => veto.entries.includes(id)) : mine;
    // A veto that names none of the dapp's own entries takes them all: the state must become sound.
    const losing = named.length > 0 ? named : mine;
    if (losing.length === 0)
      throw new TownError(
        'dapp-tests-fail',
        `The tests of ${veto.dapp} do not pass and none of its entries in this merge is to blame: ${veto.reason}`,
        'The town keeps its last good state. Mend or disable the dapp by a change of the charter.',
      );
    for (const { id, type } of losing) {
      const verdict = kindOf(type, input.manifests) === 'fact' ? 'irregular' : 'rejected';
      vetoed.set(id, {
        verdict,
        code: 'veto',
        reason: `The tests of ${veto.dapp} refused it: ${veto.reason}`,
      });
    }
  }
}

interface Attempt {
  readonly state: Overlay;
  readonly receipt: ReceiptEntry[];
  readonly expired: readonly string[];
  readonly notices: { member: string; entry: EntryId; text: string }[];
}

function* replayOnce(input: ReplayInput, vetoed: ReadonlyMap<EntryId, Verdict>): Dialogue<Attempt> {
  const state = new Overlay(input.state);
  const receipt: ReceiptEntry[] = [];
  const notices: Attempt['notices'] = [];
  const ordered = orderEntries(input.parts, input.parent, input.time, input.baseTime);
  // Who has no say yet on the parent state (joined or promoted in this very merge) waits for their own place.
  const goesFirst = ({ entry }: OrderedEntry): boolean =>
    isRestrictive(entry, input.manifests) && maySpeak(entry, input.state, input.manifests);
  const restrictive = ordered.filter(goesFirst);
  const others = ordered.filter((one) => !goesFirst(one));

  const judge = function* (list: readonly OrderedEntry[], authority: StateReader): Dialogue<void> {
    for (const { entry, tau } of list) {
      const { town, line, height, time, manifests } = input;
      const context: EntryContext = {
        town,
        line,
        height,
        time,
        tau,
        manifests,
        authority,
        arrival: 'spendable',
      };
      const early = vetoed.get(entry.id) ?? knownAlready(input, entry);
      const judged = early
        ? { verdict: early, writes: [], notices: [] }
        : yield* judgeEntry(entry, state, context);
      const { id, node, n, type } = entry;
      receipt.push({ id, node, n, type, ...judged.verdict, writes: hashWrites(judged.writes) });
      for (const notice of judged.notices) notices.push({ ...notice, entry: id });
    }
  };
  yield* judge(restrictive, input.state);
  yield* judge(others, state);
  const expired = expireLocks(state, input.time);
  markBranches(state, input, ordered);
  return { state, receipt, expired, notices };
}

const hashWrites = (writes: readonly StateWrite[]): Sha256 => sha256(canonicalize(writes));

/** An id applies once: a running number at or below its branch's mark was folded in before. */
function knownAlready(input: ReplayInput, entry: VerifiedEntry): Verdict | null {
  const mark = readBranch(input.state, entry.node, input.line);
  return mark && entry.n <= mark.n
    ? rejected('duplicate', `Entry ${entry.n} of this node was merged before.`)
    : null;
}

export const readBranch = (state: StateReader, node: string, line: string): BranchMark | undefined =>
  readJson<BranchMark>(state, 'kernel', 'branches', branchName(node, line));

function markBranches(state: Overlay, input: ReplayInput, ordered: readonly OrderedEntry[]): void {
  for (const { node, line, blocks, tau } of input.parts) {
    const last = blocks[blocks.length - 1];
    invariant(last !== undefined, 'a merge folds in at least one block of each branch it names');
    let highest = readBranch(input.state, node, line)?.n ?? 0;
    let latest: number = tau;
    for (const { entry, tau: at } of ordered)
      if (entry.node === node) {
        highest = Math.max(highest, entry.n);
        latest = Math.max(latest, at);
      }
    const mark: BranchMark = { head: last.id, seq: last.seq, n: highest, tau: latest };
    writeJson(state, 'kernel', 'branches', branchName(node, line), mark);
  }
}

/** Runs each enabled dapp's test in charter order; the first veto is returned. */
function* testAll(
  input: ReplayInput,
  { state, receipt }: Attempt,
): Dialogue<{ dapp: string; entries: readonly string[]; reason: string } | null> {
  const charter = readCharter(state);
  for (const { name } of charter.dapps.filter(({ enabled }) => enabled)) {
    const manifest = input.manifests.get(name);
    if (!manifest)
      throw new TownError(
        'dapp-missing',
        `The charter enables the dapp ${name}, which is not on this node.`,
        'Install it, or update.',
      );
    const { town, line, height, time, manifests } = input;
    const context: EntryContext = {
      town,
      line,
      height,
      time,
      tau: time,
      manifests,
      authority: state,
      arrival: 'spendable',
    };
    const entries = receipt
      .filter(({ type, verdict }) => dappOf(type) === name && verdict !== 'rejected')
      .map(({ id }) => id);
    const call: ToContract = { t: 'test', id: 1, entries, ctx: contractContext(name, charter, context) };
    const result = yield* converse(call, name, state, manifest);
    if (result.t === 'pass') continue;
    if (result.t === 'veto')
      return { dapp: name, entries: result.entries, reason: result.reason.slice(0, TEXT_MAX) };
    const why = result.t === 'error' ? result.message.slice(0, TEXT_MAX) : `it answered "${result.t}"`;
    return { dapp: name, entries: [], reason: `its test failed: ${why}` };
  }
  return null;
}

function finish(input: ReplayInput, { state, receipt, expired, notices }: Attempt): ReplayResult {
  const writes = state.writes();
  assertConserved(input.state, writes);
  const charter = readCharter(state);
  return {
    writes,
    receipt: { height: input.height, entries: receipt, expired, notices },
    testedBy: charter.dapps
      .filter(({ enabled }) => enabled)
      .map(({ name, version, digest }) => `${name}@${version} sha256:${digest}`),
  };
}
