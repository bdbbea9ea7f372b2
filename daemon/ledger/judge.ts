/**
 * Judges one entry: who says it, whether they may, and what the kernel or a dapp's contract makes of it.
 * A generator, like the replay: it yields messages for contracts and takes theirs.
 */
import type { Arrival } from './accounts.js';
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
import type { EntryId, Json, JsonObject, Millis, Sha256 } from './ids.js';
import { TownError } from './ids.js';
import { applyKernelEntry, kernelRule } from './kernel-rules.js';
import { readCharter, speakerOf, type Speaker } from './kernel.js';
import { carryOut } from './postings.js';
import type { Overlay, StateReader, StateWrite } from './state.js';
import { assertConserved } from './supply.js';
import { suspensionOf } from './suspended-dapps.js';
import { TracedOverlay, recordedEntry, type TracedPlace } from './trace.js';

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
  /** The entry that this one lost to: of this merge or an earlier one. */
  readonly other?: EntryId;
}
export type Manifests = ReadonlyMap<string, DappManifest>;

/** Bounds on what one call of a contract may do. */
const READS_MAX = 10_000;
const WRITES_MAX = 64;
const POSTINGS_MAX = 16;
const NOTICES_MAX = 16;
/** Characters of a reason or notice that are kept. */
const TEXT_MAX = 500;
const LIST_MAX = 256;
/** A page of a `list` stays well below the longest line of the protocol. */
const PAGE_BYTES_MAX = 512 * 1024;

/** What is kept of a dapp's words: 500 UTF-16 units, and no half of a pair, which is no JSON. */
export const keptText = (text: string): string =>
  text.slice(0, TEXT_MAX).replace(/\p{Surrogate}/gu, '\ufffd');

/** The verdict that a rule refuses an entry. */
export const rejected = (code: string, reason: string, other?: EntryId): Verdict => ({
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
  /** Of the merge before this one. */
  readonly validators: readonly string[];
  /** The time of an adopted merge. @throws TownError `unknown-base` */
  readonly baseTime: (base: Sha256) => Millis;
}

/**
 * Of the manifests that a node has, those of the dapps that the charter enables: what else a node happens to have is no part of
 * the rules. @throws TownError `dapp-missing` where one of them is not here
 */
export function enabledManifests(charter: Charter, manifests: Manifests): Manifests {
  const enabled = charter.dapps.filter((dapp) => dapp.enabled);
  return new Map(enabled.map(({ name }) => [name, manifestOf(name, manifests)]));
}

/** @throws TownError `dapp-missing` */
export function manifestOf(name: string, manifests: Manifests): DappManifest {
  const manifest = manifests.get(name);
  if (!manifest)
    throw new TownError(
      'dapp-missing',
      `The charter enables the dapp ${name}, which is not on this node.`,
      'Install it, or update.',
    );
  return manifest;
}

/** Whether an entry revokes, suspends or locks down, and so goes first. */
export function isRestrictive(entry: { readonly type: string }, manifests: Manifests): boolean {
  const rule = kernelRule(entry.type) ?? manifests.get(dappOf(entry.type))?.verbs[verbOf(entry.type)];
  return rule?.restrictive === true;
}

/** A claim asks; a fact is what a node saw. Undefined: no such type. */
export function kindOf(type: string, manifests: Manifests): 'claim' | 'fact' | undefined {
  return (kernelRule(type) ?? manifests.get(dappOf(type))?.verbs[verbOf(type)])?.kind;
}

export interface Judged {
  readonly verdict: Verdict;
  /** Of a refusal: the values that it hinged on. Who wrote there last in this merge is the verdict's `other`. */
  readonly hinge?: readonly TracedPlace[];
  readonly writes: readonly StateWrite[];
  readonly notices: readonly { readonly member: string; readonly text: string }[];
}

/**
 * Judges one entry on a state and, where it is accepted, changes it; a rejected one leaves no trace.
 * Facts are never rejected by a contract: what broke a rule is irregular.
 */
export function* judgeEntry(entry: VerifiedEntry, state: Overlay, context: EntryContext): Dialogue<Judged> {
  const own = new TracedOverlay(state);
  const charter = readCharter(state);
  const kept = (verdict: Verdict, notices: Judged['notices'] = []): Judged => {
    const writes = own.writes();
    assertConserved(state, writes);
    own.settle();
    return { verdict, writes, notices };
  };
  const dropped = (verdict: Verdict, hinge: readonly TracedPlace[] = []): Judged => {
    const other = verdict.other ?? hinge.map((place) => recordedEntry(state, place)).find((id) => id);
    return { verdict: { ...verdict, ...(other ? { other } : {}) }, hinge, writes: [], notices: [] };
  };
  const type = typeRefusal(entry, charter, context);
  if (type) return dropped(type, [CHARTER]);
  const suspension = suspensionRefusal(entry, charter, state);
  if (suspension) return dropped(suspension);
  const rule = kernelRule(entry.type);
  const kind = kindOf(entry.type, context.manifests) as 'claim' | 'fact';
  const speaker = speakerOf(charter, context.authority, entry.by);
  const silence = mayNotSpeak(entry, kind, speaker, charter);
  // What was judged on the parent state, nothing of this merge has brought about.
  if (silence) return dropped(silence, context.authority === state ? hingeOfSpeaker(speaker) : []);
  if (rule) {
    const { authority, town, height, time, tau, arrival, validators, baseTime } = context;
    const around = { charter, authority, town, height, time, tau, arrival, validators, baseTime };
    const finding = applyKernelEntry(entry, own, around);
    if (!finding) return kept({ verdict: 'accepted' });
    const { code, reason, about } = finding;
    if (finding.irregular) return kept({ verdict: 'irregular', code, reason });
    const verdict = kind === 'claim' ? 'rejected' : 'irregular';
    return dropped({ verdict, code, reason }, hingeOf(about));
  }
  const outcome = yield* askContract(entry, own, speaker, charter, context);
  if (outcome.verdict.verdict !== 'rejected') return kept(outcome.verdict, outcome.notices);
  // What the contract had begun to change when a rule refused it is dropped; only the fact itself stays.
  const verdict = kind === 'claim' ? 'rejected' : 'irregular';
  return dropped({ ...outcome.verdict, verdict }, outcome.hinge);
}

const CHARTER: TracedPlace = 'kernel/charter/charter';

/** What a rule says that it hinged on: named by the rule, not by what it happened to read last. */
const hingeOf = (about: string | undefined): readonly TracedPlace[] =>
  about === undefined ? [] : [`kernel/${about}`];

/** Whether the entry belongs elsewhere, or nobody here judges its type. */
function typeRefusal({ town, line, type }: VerifiedEntry, charter: Charter, context: EntryContext) {
  if (town !== context.town || line !== context.line)
    return rejected('other-town', 'The entry is for another town or line.');
  if (kernelRule(type)) return null;
  const dapp = charter.dapps.find(({ name }) => name === dappOf(type));
  if (dapp && !dapp.enabled)
    return rejected('dapp-disabled', `The dapp ${dapp.name} is not enabled in the charter.`);
  return dapp && manifestOf(dapp.name, context.manifests).verbs[verbOf(type)]
    ? null
    : rejected('unknown-type', `Nobody here judges "${type}": the charter has no such dapp or verb.`);
}

/** Whether the dapp that would judge the entry is suspended. */
function suspensionRefusal({ type }: VerifiedEntry, charter: Charter, state: StateReader): Verdict | null {
  const found = kernelRule(type) ? undefined : suspensionOf(state, charter, dappOf(type));
  return found
    ? rejected(
        'dapp-suspended',
        `The dapp ${dappOf(type)} is suspended since merge ${found.height}, until the charter says otherwise of it: ${found.reason}`,
      )
    : null;
}

/** What decides whether somebody may say something: their roles, and what the charter lets these do. */
const hingeOfSpeaker = (speaker: Speaker): readonly TracedPlace[] =>
  speaker.kind === 'member' ? [`kernel/members/${speaker.member.id}`, CHARTER] : [];

/** Whether the author of an entry has the say it needs on a state. */
export function maySpeak(entry: VerifiedEntry, state: StateReader, manifests: Manifests): boolean {
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
  if (kernelRule(entry.type)?.open) return null;
  switch (speaker.kind) {
    case 'revoked':
      return rejected(
        'key-revoked',
        'The key that signed this was revoked before it was merged.',
        speaker.entry,
      );
    case 'suspended':
      return rejected(
        'member-suspended',
        'Who signed this is suspended: a steward can reinstate them.',
        speaker.entry,
      );
    case 'left':
      return rejected('member-left', 'Who signed this has left the town.', speaker.entry);
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

/** What a dapp's contract is told of where it runs. */
export function contractContext(
  dapp: string,
  charter: Charter,
  context: Pick<EntryContext, 'town' | 'height' | 'time' | 'tau'>,
): ContractContext {
  const { town, height, time, tau } = context;
  const parameters = (charter.dapps.find(({ name }) => name === dapp)?.parameters ?? {}) as JsonObject;
  return { town, height, time, tau, parameters };
}

/** Answers the questions of one call until the contract gives its result. */
export function* converse(
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
  own: TracedOverlay,
  speaker: Speaker,
  charter: Charter,
  context: EntryContext,
): Dialogue<Pick<Judged, 'verdict' | 'notices' | 'hinge'>> {
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
  if (result.t === 'reject')
    return { ...none(rejected(result.code, keptText(result.reason))), hinge: own.read };
  if (result.t === 'error')
    return none(rejected('contract-error', `The contract of ${dapp} failed: ${keptText(result.message)}`));
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
  const isMeter =
    kindOf(entry.type, context.manifests) === 'fact' && !isRestrictive(entry, context.manifests);
  const refused = carryOut(own, postings, {
    dapp,
    mayDebit,
    meter: isMeter ? { id: entry.id, spender: entry, tau: context.tau } : null,
    arrival: context.arrival,
  });
  if (refused) {
    return { ...none(rejected(refused.code, refused.reason)), hinge: hingeOf(refused.about) };
  }
  const verdict: Verdict =
    irregular === undefined
      ? { verdict: 'accepted' }
      : { verdict: 'irregular', code: irregular.code, reason: keptText(irregular.reason) };
  return {
    verdict,
    notices: notices.map(({ member: to, text }) => ({ member: to, text: keptText(text) })),
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
