/** Whom a node asks for what it lacks, and for what: a pure part of the sync machine (peer-sync.ts). */
import type { NodeId, Sha256 } from '../ledger/ids.js';
import {
  placeOf,
  WANT_BLOCKS_MAX,
  WANT_MERGES_MAX,
  type Branch,
  type HeadsBody,
  type WantBody,
} from './bodies.js';
import type { Output, Stepped } from './sync-output.js';
import * as S from './sync-state.js';
import type { Item, Sought, SyncState, Want } from './sync-state.js';

/**
 * When what is sought is asked for by its id: milliseconds; Infinity where nothing is. Not before what is on its way had time
 * to come; that more and more comes of some branch does not put it off for ever.
 */
export function seekAt({ sought, wants, following }: SyncState): number {
  const isAsked = ([item, { phase }]: [Item, Want]): boolean =>
    phase === 'asked' && item !== 'merges' && item !== 'state' && !S.isHead(item);
  const isFetching = following.size > 0 || [...wants].some(isAsked);
  const since = Math.min(...[...sought.values()].map((head) => head.since));
  return since + (isFetching ? S.SEEK_LATE_MS : S.SEEK_AFTER_MS);
}

/** Asks for what is lacking and nobody was asked for yet: of each branch, of the merges, and what is sought by its id. */
export function ask(before: SyncState, now: number): Stepped {
  if (!before.online) return { state: before, outputs: [] };
  const connected = [...before.peers.keys()].filter((node) => S.isConnected(before, node, now)).sort();
  const wants = new Map(before.wants);
  const outputs: Output[] = [];
  const branches = [...before.nodes, ...before.drafts.keys()].filter(
    (branch) => placeOf(branch).node !== before.self && !before.frozen.has(branch),
  );
  const isDue = now >= seekAt(before);
  const heads = isDue ? [...before.sought.keys()] : [];
  let seeking = [...wants.keys()].filter(S.isHead).length;
  const lines: Item[] = [...(before.ahead ? (['state'] as const) : []), 'merges', ...branches, ...heads];
  const items = lines.filter((item) => !wants.has(item));
  const sought = new Map(before.sought);
  for (const item of items) {
    if (S.isHead(item) && seeking >= S.SEEK_AT_ONCE) continue;
    const choice = choose(before, item, connected, now);
    if (choice === null) continue;
    let had = S.reachedOf(before, item);
    if (S.isHead(item)) {
      seeking += 1;
      // Another one is asked from the beginning.
      const head = sought.get(item) as Sought;
      if (head.of !== choice.peer) sought.set(item, { ...head, upTo: (had = 0), of: choice.peer });
    }
    wants.set(item, { ...choice, had, phase: 'asked', deadline: now + S.ANSWER_MS, ...S.NOTHING_CAME });
    outputs.push({ t: 'send-want', to: choice.peer, body: choice.body });
  }
  const state = outputs.length === 0 ? before : { ...before, wants, sought };
  const next = askNext(state, now);
  return { state: next.state, outputs: [...outputs, ...next.outputs] };
}

/**
 * Asks for the blocks after those that have come and are being checked, so that they are on their way meanwhile: of the peer that
 * gave those, for its blocks follow each other.
 */
function askNext(state: SyncState, now: number): Stepped {
  const outputs: Output[] = [];
  const wants = new Map(state.wants);
  const following = new Map(state.following);
  for (const [item, want] of state.wants) {
    if (!want.mayFollow || following.has(item) || !S.isConnected(state, want.peer, now)) continue;
    if ((state.failures.get(S.failureKey(item, want.peer))?.until ?? 0) > now) continue;
    wants.set(item, { ...want, mayFollow: false });
    const body = lacking(state, item, want.peer, want.cameTo);
    if (body === null) continue;
    following.set(item, { peer: want.peer, body, deadline: now + S.ANSWER_MS });
    outputs.push({ t: 'send-want', to: want.peer, body });
  }
  return outputs.length === 0 ? { state, outputs } : { state: { ...state, wants, following }, outputs };
}

/** Whom to ask for an item, and for what: who failed least, the branch's own node before others; else spread over all. */
function choose(
  state: SyncState,
  item: Item,
  connected: readonly NodeId[],
  now: number,
): { readonly peer: NodeId; readonly body: WantBody } | null {
  const offers = connected.flatMap((peer) => {
    const failure = state.failures.get(S.failureKey(item, peer));
    if (failure !== undefined && failure.until > now) return [];
    const body = lacking(state, item, peer);
    return body === null ? [] : [{ peer, body, count: failure?.count ?? 0 }];
  });
  const least = Math.min(...offers.map(({ count }) => count));
  const best = offers.filter(({ count }) => count === least);
  const turn =
    item === 'merges' || item === 'state' ? S.reachedOf(state, item) : parseInt(item.slice(0, 8), 16);
  const first = firstAsked(state, item);
  return best.find(({ peer }) => peer === first) ?? best[turn % best.length] ?? null;
}

/** Who is asked before others: who made a branch, who gave the blocks before those that are sought. */
function firstAsked(state: SyncState, item: Item): NodeId | null {
  if (item === 'merges' || item === 'state') return null;
  return S.isHead(item) ? (state.sought.get(item)?.of ?? null) : placeOf(item).node;
}

/**
 * What a peer says it has of an item and this node has not: the next range; null for nothing.
 * @param cameTo of a branch: what is on its way into the store goes up to there; 0: nothing is
 */
function lacking(state: SyncState, item: Item, peer: NodeId, cameTo = 0): WantBody | null {
  const heads = state.peers.get(peer)?.heads;
  if (heads === undefined) return null;
  if (item === 'state') return state.ahead && heads.height >= state.ahead.height ? state.ahead.body : null;
  if (item === 'merges') {
    const from = state.height + 1;
    if (heads.height < from) return null;
    return { merges: { from, to: Math.min(heads.height, state.height + WANT_MERGES_MAX) } };
  }
  if (S.isHead(item)) {
    const { holders, upTo, of } = state.sought.get(item) as Sought;
    const has = heads.height > state.height || holders.has(peer);
    return has ? { head: { id: item, from: of === peer && upTo > 0 ? upTo + 1 : 0 } } : null;
  }
  const theirs = heads.tips[item] ?? mergedThere(state, item, heads);
  const ours = state.tips.get(item);
  const last = Math.max(cameTo, ours?.seq ?? 0);
  if (theirs === undefined) return null;
  // Another block at the end of our branch: fetched too, for it is evidence against the branch's node if it is signed.
  const isOther = theirs.seq === ours?.seq && theirs.head !== ours.head;
  const overlap = state.failures.get(S.failureKey(item, peer))?.overlap === true;
  const from = (isOther || overlap) && last > 0 && cameTo === 0 ? last : last + 1;
  const end = Math.min(theirs.seq, state.drafts.get(item)?.seq ?? Infinity);
  if (end < from) return null;
  return { blocks: { node: item, from, to: Math.min(end, from + WANT_BLOCKS_MAX - 1) } };
}

/** A draft that is merged is told no more; who is ahead of us has it, as far as it is wanted. */
function mergedThere(
  state: SyncState,
  branch: Branch,
  heads: HeadsBody,
): { readonly seq: number; readonly head?: Sha256 } | undefined {
  const draft = state.drafts.get(branch);
  const isLacking = draft !== undefined && S.reachedOf(state, branch) < draft.seq;
  return isLacking && heads.height > state.height ? { seq: draft.seq } : undefined;
}
