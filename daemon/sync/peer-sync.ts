/**
 * How a node and its peers come to hold the same blocks and merges: each tells its heads, asks for what it lacks, answers
 * what it is asked. A pure state machine: `step(state, input) → {state, outputs}`; the caller sends, stores, and keeps the time.
 * It carries bytes and believes none: what came is for the caller to check (`admit`), who tells how it went (`settled`).
 */
import { invariant, type NodeId, type Sha256 } from '../ledger/ids.js';
import { ask, seekAt } from './asking.js';
import { TIPS_MAX, type Branch, type HaveBody, type HeadsBody, type Tip, type WantBody } from './bodies.js';
import type { Output, Stepped } from './sync-output.js';
import * as S from './sync-state.js';
import type { Ahead, Draft, Failure, Following, Item, Sought, SyncState, Want } from './sync-state.js';

/** What happened; `now` in milliseconds, never going back. */
export type Input = { readonly now: number } & (
  | { readonly t: 'connected' | 'disconnected' | 'tick' }
  /** The own heads are not with the broker any more. */
  | { readonly t: 'taken-back' }
  /** The broker says that a node went away. */
  | { readonly t: 'gone'; readonly node: NodeId }
  /** The nodes that the charter names now, and the branches of drafts that the town adopted. */
  | {
      readonly t: 'nodes';
      readonly nodes: readonly NodeId[];
      readonly drafts?: ReadonlyMap<Branch, Draft>;
    }
  /** Blocks of a branch (also the own one) are durable up to here. */
  | { readonly t: 'stored'; readonly node: Branch; readonly tip: Tip }
  /** Blocks of a branch up to this one wait to be checked, and there is room for those after them. */
  | { readonly t: 'received'; readonly node: Branch; readonly upTo: number }
  /** Blocks were taken out of a branch: what is held of it may end earlier, and more of it is fetched again. */
  | { readonly t: 'resumed'; readonly node: Branch; readonly tip: Tip | null }
  /**
   * A quorum stands behind the next merge, and these blocks that it folds in are not here; `holders` voted for it. In place of
   * what was told before.
   */
  | { readonly t: 'sought'; readonly heads: readonly Sha256[]; readonly holders: readonly NodeId[] }
  /** Of the blocks up to one that is sought so much waits in quarantine; null: it is stored. */
  | { readonly t: 'collected'; readonly head: Sha256; readonly upTo: number | null }
  /** What is to be fetched to be of use before the history is here; in place of what was wanted before. */
  | { readonly t: 'ahead'; readonly ahead: Ahead | null }
  /** A merge became `main`. */
  | { readonly t: 'adopted'; readonly height: number; readonly main: Sha256 }
  | { readonly t: 'heads'; readonly from: NodeId; readonly body: HeadsBody }
  | { readonly t: 'want'; readonly from: NodeId; readonly body: WantBody }
  | { readonly t: 'have'; readonly from: NodeId; readonly body: HaveBody }
  /** What `admit` gave out is all stored (null), or refused with this code. */
  | { readonly t: 'settled'; readonly item: Item; readonly refused: string | null }
  /** What `send-have` asked for is sent, or cannot be. */
  | { readonly t: 'answered'; readonly to: NodeId; readonly item: Item }
);

/** A node that has just started, not connected: what it holds. */
export function startSync(start: {
  readonly self: NodeId;
  readonly nodes: readonly NodeId[];
  readonly height: number;
  readonly main: Sha256;
  readonly tips: ReadonlyMap<Branch, Tip>;
  readonly drafts?: ReadonlyMap<Branch, Draft>;
}): SyncState {
  return {
    ...start,
    drafts: start.drafts ?? new Map(),
    nodes: new Set(start.nodes),
    online: false,
    publishedAt: null,
    changed: false,
    peers: new Map(),
    wants: new Map(),
    following: new Map(),
    failures: new Map(),
    answering: new Map(),
    frozen: new Set(),
    sought: new Map(),
    told: new Set(),
    ahead: null,
  };
}

/** One step. Never throws on what peers send. */
export function step(state: SyncState, input: Input): Stepped {
  const taken = take(state, input);
  const expired = expire(taken.state, input.now);
  const asked = ask(expired.state, input.now);
  const told = tell(asked.state, input.now);
  return {
    state: told.state,
    outputs: [...taken.outputs, ...expired.outputs, ...asked.outputs, ...told.outputs],
  };
}

/**
 * When the machine has something to do next, if nothing happens before: milliseconds; for one timer.
 * @param now of the last step: what became due since is told, and not passed over
 */
export function nextDue(state: SyncState, now: number): number {
  const times = [...state.wants.values(), ...state.following.values()].map(({ deadline }) => deadline);
  for (const { until } of state.failures.values()) if (until > now) times.push(until);
  times.push(...[seekAt(state)].filter((at) => at > now));
  const { online, publishedAt, changed } = state;
  if (online)
    times.push(publishedAt === null ? now : publishedAt + (changed ? S.HEADS_GAP_MS : S.HEADS_EVERY_MS));
  return Math.max(now, Math.min(now + S.HEADS_EVERY_MS, ...times));
}

const only = (state: SyncState, ...outputs: Output[]): Stepped => ({ state, outputs });

function take(state: SyncState, input: Input): Stepped {
  const { now } = input;
  switch (input.t) {
    case 'tick':
      return only(state);
    case 'connected':
      return only({ ...state, online: true, publishedAt: null, failures: new Map() });
    case 'taken-back':
      return only({ ...state, publishedAt: null });
    case 'disconnected': {
      const peers = new Map([...state.peers].map(([node, peer]) => [node, { ...peer, present: false }]));
      const wants = new Map([...state.wants].filter(([, { phase }]) => phase === 'admitting'));
      return only({ ...state, online: false, peers, wants, following: new Map() });
    }
    case 'gone': {
      const peer = state.peers.get(input.node);
      if (peer === undefined) return only(state);
      const peers = new Map(state.peers).set(input.node, { ...peer, present: false });
      return only({ ...state, peers, ...hurried(state, input.node, now) });
    }
    case 'nodes': {
      const nodes = new Set(input.nodes);
      const peers = new Map([...state.peers].filter(([node]) => nodes.has(node)));
      return only({ ...state, nodes, peers, drafts: input.drafts ?? state.drafts });
    }
    case 'stored': {
      const { node, tip } = input;
      invariant(tip.seq >= (state.tips.get(node)?.seq ?? 0), 'a branch only grows');
      if (state.tips.get(node)?.head === tip.head) return only(state);
      const frozen = new Set([...state.frozen].filter((branch) => branch !== node));
      return only(
        progressed({ ...state, tips: new Map(state.tips).set(node, tip), frozen, changed: true }, now),
      );
    }
    case 'received': {
      const want = state.wants.get(input.node);
      // Who sends again what came before is not asked for more meanwhile.
      if (want?.phase !== 'admitting' || input.upTo <= want.cameTo) return only(state);
      const next = { ...want, cameTo: input.upTo, mayFollow: true };
      const wants = new Map(state.wants).set(input.node, next);
      return only({ ...state, wants });
    }
    case 'resumed':
      return only(resumed(state, input.node, input.tip, now));
    case 'adopted':
      invariant(input.height >= state.height, 'main only grows');
      if (input.main === state.main) return only(state);
      return only(
        progressed(
          { ...state, height: input.height, main: input.main, sought: new Map(), changed: true },
          now,
        ),
      );
    case 'sought':
      return only({ ...state, sought: soughtNow(state, input.heads, new Set(input.holders), now) });
    case 'collected': {
      const sought = new Map(state.sought);
      const { head, upTo } = input;
      const before = sought.get(head);
      if (before === undefined) return only(state);
      if (upTo === null) sought.delete(head);
      else sought.set(head, { ...before, upTo });
      return only(progressed({ ...state, sought }, now));
    }
    case 'ahead':
      return only({ ...state, ahead: input.ahead });
    case 'heads':
      return takeHeads(state, input.from, input.body, now);
    case 'want':
      return takeWant(state, input.from, input.body, now);
    case 'have':
      return takeHave(state, input.from, input.body, now);
    case 'settled':
      return settle(state, input.item, input.refused, now);
    case 'answered': {
      const answering = new Map(state.answering);
      answering.delete(S.failureKey(input.item, input.to));
      return only({ ...state, answering });
    }
  }
}

/** What was sought before goes on where it is. */
function soughtNow(
  { sought }: SyncState,
  heads: readonly Sha256[],
  holders: ReadonlySet<NodeId>,
  now: number,
): ReadonlyMap<Sha256, Sought> {
  const fresh: Sought = { since: now, holders, upTo: 0, of: null };
  return new Map(heads.map((head) => [head, { ...(sought.get(head) ?? fresh), holders }]));
}

function resumed(state: SyncState, node: Branch, tip: Tip | null, now: number): SyncState {
  const tips = new Map(state.tips);
  if (tip === null) tips.delete(node);
  else tips.set(node, tip);
  const others = <Name extends string>(names: ReadonlySet<Name>): ReadonlySet<Name> =>
    new Set([...names].filter((name: string) => name !== node));
  const failures = new Map([...state.failures].filter(([key]) => !key.startsWith(`${node} `)));
  const { frozen, told } = state;
  const thawed = { frozen: others(frozen), told: others(told) };
  return progressed({ ...state, ...thawed, tips, failures, changed: true }, now);
}

/** What was asked of a node that is gone is soon asked of another, or of itself when it is back. */
function hurried(state: SyncState, gone: NodeId, now: number): Pick<SyncState, 'wants' | 'following'> {
  const hurry = <W extends Following>(want: W): W =>
    want.peer === gone ? { ...want, deadline: Math.min(want.deadline, now + S.GONE_MS) } : want;
  const wants = [...state.wants].map(
    ([item, want]) => [item, want.phase === 'asked' ? hurry(want) : want] as const,
  );
  const following = [...state.following].map(([item, want]) => [item, hurry(want)] as const);
  return { wants: new Map(wants), following: new Map(following) };
}

/** What waits in quarantine may get on now: it has time again. */
function progressed(state: SyncState, now: number): SyncState {
  const wants = new Map(
    [...state.wants].map(([item, want]) => [
      item,
      want.phase === 'admitting' ? { ...want, deadline: now + S.ADMIT_MS } : want,
    ]),
  );
  return { ...state, wants };
}

function takeHeads(state: SyncState, from: NodeId, body: HeadsBody, now: number): Stepped {
  if (from === state.self || !state.nodes.has(from)) return only(state);
  const peers = new Map(state.peers).set(from, { heads: body, heardAt: now, present: true });
  const outputs: Output[] = [];
  const told = new Set(state.told);
  for (const [name, theirs] of Object.entries(body.tips)) {
    const branch = name as NodeId;
    const ours = state.tips.get(branch) ?? null;
    const isOther = theirs.seq === ours?.seq && theirs.head !== ours.head;
    const isBeyondOwn = branch === state.self && theirs.seq > (ours?.seq ?? 0);
    if (!(isOther || isBeyondOwn) || !state.nodes.has(branch) || told.has(branch)) continue;
    told.add(branch);
    outputs.push({ t: 'contradiction', branch, peer: from, ours, theirs });
  }
  return { state: { ...state, peers, told }, outputs };
}

function takeWant(state: SyncState, from: NodeId, body: WantBody, now: number): Stepped {
  const item = itemOf(body);
  const what = withinOurs(state, body);
  if (!state.nodes.has(from) || what === null) return only(state);
  const key = S.failureKey(item, from);
  if ((state.answering.get(key) ?? 0) > now) return only(state);
  const inMaking = [...state.answering].filter(([name, until]) => until > now && name.endsWith(from));
  if (inMaking.length >= S.ANSWERS_MAX) return only(state, { t: 'refused', from, code: 'busy' });
  const answering = new Map(state.answering).set(key, now + S.ANSWERING_MS);
  return only({ ...state, answering }, { t: 'send-have', to: from, item, what });
}

export function itemOf(body: WantBody | HaveBody): Item {
  if ('blocks' in body) return body.blocks.node;
  if ('head' in body) return body.head.id;
  return 'merges' in body ? 'merges' : 'state';
}

/** The part of a want that can be answered from here; null where there is none. What is wanted by its id, the store knows. */
function withinOurs(state: SyncState, body: WantBody): WantBody | null {
  if ('head' in body || 'objects' in body) return body;
  if ('merge' in body) return body.merge.height > state.height ? null : body;
  if ('merges' in body) {
    const { from, to } = body.merges;
    return from > state.height ? null : { merges: { from, to: Math.min(to, state.height) } };
  }
  const { node, from, to } = body.blocks;
  const last = state.tips.get(node)?.seq ?? 0;
  return from > last ? null : { blocks: { node, from, to: Math.min(to, last) } };
}

function takeHave(state: SyncState, from: NodeId, body: HaveBody, now: number): Stepped {
  const item = itemOf(body);
  const want = state.wants.get(item);
  const asked = want?.phase === 'admitting' ? state.following.get(item) : want;
  if (want === undefined || asked?.peer !== from || firstOf(asked.body) !== firstOf(body))
    return only(state, { t: 'refused', from, code: 'unsolicited' });
  const follows = want.phase === 'admitting';
  const admitting: Want = { ...want, phase: 'admitting', deadline: now + S.ADMIT_MS };
  const wants = new Map(state.wants).set(item, admitting);
  return only(
    { ...state, wants, following: without(state.following, item) },
    { t: 'admit', from, item, body, follows },
  );
}

function without<Key, Value>(map: ReadonlyMap<Key, Value>, key: Key): ReadonlyMap<Key, Value> {
  if (!map.has(key)) return map;
  const others = new Map(map);
  others.delete(key);
  return others;
}

/** Where a range begins: an answer is for the question that began there. */
function firstOf(body: WantBody | HaveBody): string | number {
  if ('merge' in body) return `merge ${body.merge.height}`;
  if ('objects' in body) {
    const { objects } = body;
    return `${'ids' in objects ? objects.ids[0] : objects.id} ${objects.at}`;
  }
  return ('blocks' in body ? body.blocks : 'head' in body ? body.head : body.merges).from;
}

function settle(state: SyncState, item: Item, refused: string | null, now: number): Stepped {
  const want = state.wants.get(item);
  if (want?.phase !== 'admitting') return only(state);
  const wants = new Map(state.wants);
  wants.delete(item);
  const following = state.following.get(item);
  // What was asked for meanwhile is what comes next now; of what did not hold nothing more is taken.
  const had = S.reachedOf(state, item);
  if (following !== undefined && refused === null)
    wants.set(item, { ...following, had, phase: 'asked', ...S.NOTHING_CAME });
  const settled = { ...state, wants, following: without(state.following, item) };
  const isFound = S.isHead(item) && !state.sought.has(item);
  if (refused === null && (isFound || had > want.had)) {
    const failures = new Map(state.failures);
    failures.delete(S.failureKey(item, want.peer));
    return only({ ...settled, failures });
  }
  if (refused === 'equivocation' && item !== 'merges' && item !== 'state' && !S.isHead(item))
    return only({ ...settled, frozen: new Set(state.frozen).add(item) });
  // Who sends nothing new has failed too: else it would be asked for the same for ever.
  return only(failed(settled, item, want.peer, now, refused));
}

function failed(
  state: SyncState,
  item: Item,
  peer: NodeId,
  now: number,
  refused: string | null = null,
): SyncState {
  const key = S.failureKey(item, peer);
  const count = (state.failures.get(key)?.count ?? 0) + 1;
  const ms = Math.min(S.BACK_OFF_MS_MAX, S.BACK_OFF_MS_MIN * 2 ** Math.min(count - 1, 10));
  const failure: Failure = { count, until: now + ms, overlap: refused === 'other-predecessor' };
  const sought = new Map(state.sought);
  const head = S.isHead(item) ? sought.get(item) : undefined;
  // What it gave of those blocks is of no use with what another gives.
  if (S.isHead(item) && head) sought.set(item, { ...head, upTo: 0, of: null });
  return { ...state, sought, failures: new Map(state.failures).set(key, failure) };
}

/** Gives up what took too long; forgets failures and answers that are long past. */
function expire(before: SyncState, now: number): Stepped {
  let state = before;
  const outputs: Output[] = [];
  for (const [item, { deadline, phase, peer }] of state.wants) {
    if (deadline > now) continue;
    if (phase === 'admitting') outputs.push({ t: 'discard', item });
    const wants = new Map(state.wants);
    wants.delete(item);
    state = failed({ ...state, wants, following: without(state.following, item) }, item, peer, now);
  }
  for (const [item, { deadline, peer }] of state.following)
    if (deadline <= now)
      state = failed({ ...state, following: without(state.following, item) }, item, peer, now);
  const isPast = ({ until }: Failure): boolean => until + 2 * S.BACK_OFF_MS_MAX < now;
  if ([...state.failures.values()].some(isPast))
    state = { ...state, failures: new Map([...state.failures].filter(([, failure]) => !isPast(failure))) };
  if ([...state.answering.values()].some((until) => until <= now))
    state = { ...state, answering: new Map([...state.answering].filter(([, until]) => until > now)) };
  return { state, outputs };
}

/** Tells the own heads: when they changed, and every minute. */
function tell(state: SyncState, now: number): Stepped {
  const { online, publishedAt, changed } = state;
  if (!online) return only(state);
  const due = publishedAt === null || now >= publishedAt + (changed ? S.HEADS_GAP_MS : S.HEADS_EVERY_MS);
  if (!due) return only(state);
  return only({ ...state, publishedAt: now, changed: false }, { t: 'publish-heads', body: headsOf(state) });
}

/** The own branch first: where there are more than can be told, it is not the one left out. */
function headsOf({ self, height, main, tips, drafts }: SyncState): HeadsBody {
  const told = [...tips.keys()].filter((branch) => drafts.get(branch)?.done !== true);
  const names = told.sort((a, b) => (a === self ? -1 : b === self ? 1 : a < b ? -1 : 1));
  const shown = names.slice(0, TIPS_MAX).map((node) => [node, tips.get(node) as Tip] as const);
  return { height, main, tips: Object.fromEntries(shown) };
}
