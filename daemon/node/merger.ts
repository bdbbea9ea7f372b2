/**
 * Carries out proof of merge for this node: one instance of Algorithm 1 per height, started only while unmerged blocks
 * are known. The algorithm decides; this signs, makes durable, replays, and adopts.
 */
import { makeMerge, confirmMerge, readMerge, type BuiltMerge } from '../ledger/merge.js';
import { canonicalize } from '../ledger/canonical.js';
import { keyOfNode } from '../ledger/charter.js';
import type { EntryId, MemberId, Millis, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { replay, type ReplayInput } from '../ledger/replay.js';
import { startHeight, step, type Input, type Output } from '../consensus/algorithm.js';
import { certificateOf, certificateText } from '../consensus/certificate.js';
import type { HeightState } from '../consensus/height-state.js';
import { proposalRecord, voteRecord } from '../consensus/own-records.js';
import { signProposal } from '../consensus/proposal.js';
import { signVote, valueIdOf, type Vote } from '../consensus/vote.js';
import type { BlockRow, EntryVerdict, MergeRow, NewNotice } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { Blocks } from './blocks.js';
import type { Clock } from './clock.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import { NOTES_REF, proofNote } from './proof-notes.js';
import type { View } from './view.js';

/** Epochs come with recovery; until then there is one. */
const EPOCH = 0;
/** Heights that one request for a merge may take. */
const HEIGHTS_AT_ONCE_MAX = 100;
const RETRY_MS_MIN = 2_000;
const RETRY_MS_MAX = 300_000;

export interface Alarm {
  readonly code: string;
  readonly message: string;
}

export interface MergerParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly view: View;
  readonly blocks: Blocks;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly manifests: Manifests;
  /** A merge became `main`. */
  readonly adopted: (merge: MergeRow, entries: readonly EntryId[]) => void;
  /** Told when merging stops working, with null when it works again. */
  readonly alarm: (alarm: Alarm | null) => void;
  /** Reads a git object that is staged or in the repository. */
  readonly readObject: Parameters<typeof proofNote>[0];
}

/** One height at work. */
interface Work {
  state: HeightState;
  readonly built: Map<Sha256, BuiltMerge>;
  readonly ended: () => void;
  readonly failed: (error: unknown) => void;
}

export class Merger {
  private dueAt: number | null = null;
  private cancelTimer: (() => void) | null = null;
  private running: Promise<void> | null = null;
  private retryMs = RETRY_MS_MIN;
  private stopped = false;
  private ready = false;
  /** The most urgent that was recorded since the last height began. */
  private waiting: 'claim' | 'fact' | null = null;

  constructor(private readonly parts: MergerParts) {}

  get isMerging(): boolean {
    return this.running !== null;
  }

  /** The dapps answer: what waits can be merged, first of all what was voted on before a restart. */
  start(): void {
    this.ready = true;
    const { store, main } = this.parts;
    const hasVotes = store.consensusLog(main.head.height + 1, 1).length > 0;
    if (hasVotes) this.dueIn(0);
    else if (store.counts().pending > 0) this.noticed('claim');
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer?.();
    await this.running?.catch(() => undefined);
  }

  /** Something was recorded: people do not wait long, facts alone are gathered. */
  noticed(kind: 'claim' | 'fact'): void {
    const { interactiveMs, factsMs } = this.parts.main.charter.pace;
    if (kind === 'claim' || this.waiting === null) this.waiting = kind;
    this.dueIn(kind === 'claim' ? interactiveMs : factsMs);
  }

  /**
   * Merges all that is durable now; resolves when it is `main` (false: there was nothing).
   * @throws TownError `not-ready` while the dapps start, and what stopped the merge
   */
  async mergeNow(): Promise<boolean> {
    if (!this.ready)
      throw new TownError('starting', 'The dapps are not ready yet.', 'Try again in a few seconds.');
    let merged = false;
    await this.running?.catch(() => undefined);
    for (
      let heights = 0;
      heights < HEIGHTS_AT_ONCE_MAX && this.parts.store.counts().pending > 0 && !this.stopped;
      heights += 1
    ) {
      const before = this.parts.main.head.height;
      await this.run();
      if (this.parts.main.head.height === before) break;
      merged = true;
    }
    return merged;
  }

  private dueIn(ms: number): void {
    if (!this.ready || this.stopped) return;
    const at = this.parts.clock.now() + ms;
    if (this.dueAt !== null && this.dueAt <= at) return;
    this.dueAt = at;
    this.cancelTimer?.();
    this.cancelTimer = this.parts.clock.after(ms, () => {
      this.dueAt = null;
      this.run().catch(() => undefined);
    });
  }

  /** Runs one height to its end; a failure raises the alarm and is tried again later. */
  private run(): Promise<void> {
    this.running ??= this.oneHeight()
      .then(
        () => {
          this.retryMs = RETRY_MS_MIN;
          this.parts.alarm(null);
        },
        (error: unknown) => {
          const { code, message } =
            error instanceof TownError ? error : { code: 'merge-failed', message: String(error) };
          this.parts.alarm({ code, message });
          this.running = null;
          this.dueIn(this.retryMs);
          this.retryMs = Math.min(this.retryMs * 2, RETRY_MS_MAX);
          throw error;
        },
      )
      .finally(() => {
        this.running = null;
        if (this.waiting !== null) this.noticed(this.waiting);
        else if (this.parts.store.counts().pending > 0) this.noticed('fact');
      });
    return this.running;
  }

  private async oneHeight(): Promise<void> {
    const { store, main, blocks, keys } = this.parts;
    this.waiting = null;
    await blocks.cut();
    const { head, charter, town } = main;
    const resume = store.consensusLog(head.height + 1);
    const limits = charter.limits;
    if (resume.length === 0 && blocks.choose(limits).length === 0) return;
    const state = startHeight({
      self: charter.validators.includes(keys.id) ? keys.id : null,
      town,
      line: MAIN,
      epoch: EPOCH,
      height: head.height + 1,
      parent: head.id,
      validators: charter.validators as NodeId[],
      rule: charter.quorum,
      resume,
    });
    await new Promise<void>((ended, failed) => {
      const work: Work = { state, built: new Map(), ended, failed };
      this.feed(work, { t: 'start' });
    });
  }

  private feed(work: Work, input: Input): void {
    const { state, outputs } = step(work.state, input);
    work.state = state;
    for (const output of outputs) this.carryOut(work, output).catch(work.failed);
  }

  private async carryOut(work: Work, output: Output): Promise<void> {
    const { store, keys, clock } = this.parts;
    switch (output.t) {
      case 'need-value': {
        const built = await this.propose();
        work.built.set(valueIdOf(built.merge.raw), built);
        this.feed(work, { t: 'value', round: output.round, bytes: built.merge.raw });
        return;
      }
      case 'sign-proposal': {
        const proposal = signProposal(output.content, keys.id, keys.secretKey);
        await store.logConsensus([proposalRecord(proposal, output.bytes)]);
        this.feed(work, { t: 'proposal', proposal, bytes: output.bytes });
        return;
      }
      case 'judge': {
        const verdict = await this.judge(work, output.value, output.bytes);
        this.feed(work, { t: 'judged', value: output.value, verdict, ready: true });
        return;
      }
      case 'sign-vote': {
        const vote = signVote(output.content, keys.id, keys.secretKey);
        await store.logConsensus([voteRecord(vote, output.bytes)]);
        this.feed(work, { t: 'vote', vote });
        return;
      }
      case 'timeout':
        clock.after(output.ms, () =>
          this.feed(work, { t: 'timeout', step: output.step, round: output.round }),
        );
        return;
      case 'decide': {
        const built = work.built.get(output.value) ?? (await this.replayOf(output.bytes));
        await this.adopt(built, output.votes);
        work.ended();
        return;
      }
      case 'evidence':
      case 'alarm':
        throw new TownError(
          output.t === 'alarm' ? output.code : 'equivocation',
          'The validators do not agree: this node stops merging and serves its doors from the last good state.',
          'See town log and compare the receipts.',
        );
    }
  }

  private replayInput(time: Millis, heads: readonly string[]): ReplayInput {
    const { main, blocks, manifests } = this.parts;
    const { head, town } = main;
    return {
      town,
      line: MAIN,
      height: head.height + 1,
      time,
      parent: head.id,
      state: main.state,
      parts: blocks.partsOf(heads),
      baseTime: (base) => main.timeOf(base),
      manifests,
    };
  }

  /** A merge of what is known here, by the bounds of the charter. */
  private async propose(): Promise<BuiltMerge> {
    const { main, blocks, keys, clock, view } = this.parts;
    const chosen = blocks.choose(main.charter.limits);
    const heads = headsOf(chosen);
    const time = Math.max(clock.now(), main.head.time + 1) as Millis;
    const result = await view.conversations.run(
      replay(
        this.replayInput(
          time,
          heads.map(({ id }) => id),
        ),
      ),
    );
    const { head, town, tree } = main;
    return makeMerge(
      {
        town,
        line: MAIN,
        height: head.height + 1,
        time,
        parent: head.id,
        heads: heads.map(({ id }) => id),
        node: keys.id,
      },
      { main: head.oid, heads: heads.map(({ oid }) => oid) },
      tree,
      result,
      keys.secretKey,
    );
  }

  private async judge(work: Work, value: Sha256, bytes: Uint8Array): Promise<'valid' | 'invalid'> {
    if (work.built.has(value)) return 'valid';
    try {
      work.built.set(value, await this.replayOf(bytes));
      return 'valid';
    } catch (error) {
      const isRefusal =
        error instanceof TownError &&
        ['bad-merge', 'bad-commit', 'bad-signature', 'content-differs'].includes(error.code);
      if (!isRefusal) throw error;
      this.parts.alarm({ code: error.code, message: error.message });
      return 'invalid';
    }
  }

  /** My own replay of a merge that somebody proposed. @throws TownError `bad-merge`, `content-differs`, … */
  private async replayOf(bytes: Uint8Array): Promise<BuiltMerge> {
    const { main, store, view } = this.parts;
    const claimed = readMerge(bytes, (node) => keyOfNode(main.charter, node));
    const { head, town, charter } = main;
    const place = { town: claimed.town, line: claimed.line, height: claimed.height, parent: claimed.parent };
    const expected = { town, line: MAIN, height: head.height + 1, parent: head.id };
    if (canonicalize(place) !== canonicalize(expected))
      throw new TownError('bad-merge', 'The merge belongs to another place.');
    if (!charter.validators.includes(claimed.node))
      throw new TownError('bad-merge', 'Its originator is not a validator.');
    if (claimed.time <= head.time)
      throw new TownError('bad-merge', 'Its time is not after that of its parent.');
    const result = await view.conversations.run(replay(this.replayInput(claimed.time, claimed.heads)));
    const oids = claimed.heads.map((id) => store.block(id)?.oid);
    invariant(
      oids.every((oid) => oid !== undefined),
      'a replayed head is in the store',
    );
    return confirmMerge(claimed, { main: head.oid, heads: oids }, main.tree, result);
  }

  private async adopt(built: BuiltMerge, votes: readonly Vote[]): Promise<void> {
    const { store, main, view, keys, readObject } = this.parts;
    const { merge, receipt, writes, objects, tree } = built;
    const certificate = certificateText(certificateOf(votes));
    const verdicts = receipt.entries.map(
      ({ id, verdict, code, reason, other, writes: hash }): EntryVerdict => ({
        id,
        state: verdict === 'rejected' ? 'rejected' : 'merged',
        verdict,
        code: code ?? null,
        reason: reason ?? null,
        other: other ?? null,
        writes: hash,
      }),
    );
    const count = (verdict: string): number =>
      receipt.entries.filter((entry) => entry.verdict === verdict).length;
    const row: MergeRow = {
      height: merge.height,
      id: merge.id,
      oid: merge.oid,
      content: merge.content,
      time: merge.time,
      node: merge.node,
      raw: merge.raw,
      counts: { accepted: count('accepted'), rejected: count('rejected'), irregular: count('irregular') },
    };
    const blocks = this.parts.blocks.partsOf(merge.heads).flatMap((part) => part.blocks.map(({ id }) => id));
    const note = await proofNote(readObject, store.ref(NOTES_REF), merge, certificate, keys);
    await view.rebuild(async () => {
      await store.adopt({
        merge: row,
        certificate,
        verdicts,
        blocks,
        state: writes,
        objects: [...objects, ...note.objects],
        refs: [{ name: 'refs/heads/main', oid: merge.oid }, note.ref],
        notices: noticesOf(built),
      });
      main.advance({ height: merge.height, id: merge.id, oid: merge.oid, time: merge.time }, tree, writes);
    });
    await store.forgetConsensus(merge.height + 1);
    this.parts.adopted(
      row,
      receipt.entries.map(({ id }) => id),
    );
  }
}

/** The last chosen block of each branch, by node. */
function headsOf(chosen: readonly BlockRow[]): readonly BlockRow[] {
  const last = new Map<string, BlockRow>();
  for (const block of chosen) last.set(block.node, block);
  return [...last.values()].sort((a, b) => (a.node < b.node ? -1 : 1));
}

/** What a merge tells members: the notices of the dapps. */
function noticesOf({ receipt, merge }: BuiltMerge): readonly NewNotice[] {
  return receipt.notices.map(({ member, entry, text }) => ({
    member: member as MemberId,
    entry,
    at: merge.time,
    text,
  }));
}
