/** The sync machine step by step, and what the quarantine lets through. */
import t from 'tap';
import type { Block } from '../ledger/block.js';
import { NO_BLOCK, makeBlock } from '../ledger/block.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, KeyId, Millis, NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { SmallTown, secretOf, T0 } from '../ledger/testing/small-town.js';
import type { RawBlock } from './block-batch.js';
import type { HeadsBody, Tip } from './bodies.js';
import { nextDue, startSync, step, type Input } from './peer-sync.js';
import type { Output } from './sync-output.js';
import { admitBlocks, Quarantine, type BranchContext } from './quarantine.js';
import {
  ADMIT_MS,
  ANSWER_MS,
  ANSWERS_MAX,
  BACK_OFF_MS_MIN,
  GONE_MS,
  HEADS_EVERY_MS,
  SEEK_AFTER_MS,
  SEEK_LATE_MS,
  SILENT_MS_MAX,
  heldByQuorum,
  peerViews,
  type SyncState,
} from './sync-state.js';

const [self, beta, gamma] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [NodeId, NodeId, NodeId];
const tip = (seq: number, name = ''): Tip => ({ seq, head: sha256(`block ${seq} ${name}`) });
const main = (height: number): Sha256 => sha256(`merge ${height}`);
const heads = (height: number, tips: HeadsBody['tips'] = {}): HeadsBody => ({
  height,
  main: main(height),
  tips,
});

type Event = Input extends infer I ? (I extends unknown ? Omit<I, 'now'> : never) : never;

class Bench {
  now = 1_000_000;
  state: SyncState;
  constructor(tips: readonly [NodeId, Tip][] = []) {
    const nodes = [self, beta, gamma];
    this.state = startSync({ self, nodes, height: 1, main: main(1), tips: new Map(tips) });
    this.feed({ t: 'connected' });
  }
  feed(event: Event): readonly Output[] {
    const { state, outputs } = step(this.state, { ...event, now: this.now } as Input);
    this.state = state;
    return outputs;
  }
  after(ms: number): readonly Output[] {
    this.now += ms;
    return this.feed({ t: 'tick' });
  }
  heads(from: NodeId, body: HeadsBody): readonly Output[] {
    return this.feed({ t: 'heads', from, body });
  }
}

const wantOf = (outputs: readonly Output[]) =>
  outputs.flatMap((output) => (output.t === 'send-want' ? [[output.to, output.body] as const] : []));
const named = (outputs: readonly Output[], name: Output['t']) =>
  outputs.filter(({ t: kind }) => kind === name);

t.test('heads are told at connection, when they change (not too often), and every minute', async (t) => {
  const bench = new Bench();
  t.equal(bench.after(HEADS_EVERY_MS - 1).length, 0);
  t.same(bench.after(1), [{ t: 'publish-heads', body: heads(1) }]);
  t.equal(bench.feed({ t: 'stored', node: self, tip: tip(1) }).length, 0, 'debounced');
  t.ok(nextDue(bench.state, bench.now) <= bench.now + 100);
  t.match(bench.after(100), [{ t: 'publish-heads', body: { tips: { [self]: tip(1) } } }]);
  bench.now += 1000;
  t.match(bench.feed({ t: 'adopted', height: 2, main: main(2) }), [
    { t: 'publish-heads', body: { height: 2 } },
  ]);
  bench.feed({ t: 'disconnected' });
  t.equal(bench.after(HEADS_EVERY_MS).length, 0);
  t.equal(named(bench.feed({ t: 'connected' }), 'publish-heads').length, 1);
});

t.test(
  'what is lacking is asked for in ranges, each thing of one peer at a time, until all is here',
  async (t) => {
    const bench = new Bench();
    const first = bench.heads(beta, heads(3, { [beta]: tip(300), [gamma]: tip(2) }));
    t.same(wantOf(first), [
      [beta, { merges: { from: 2, to: 3 } }],
      [beta, { blocks: { node: beta, from: 1, to: 256 } }],
      [beta, { blocks: { node: gamma, from: 1, to: 2 } }],
    ]);
    t.same(wantOf(bench.heads(gamma, heads(3, { [beta]: tip(300) }))), [], 'nothing twice');
    const have = { blocks: { node: beta, from: 1, packed: 'x' } };
    t.match(bench.feed({ t: 'have', from: beta, body: have }), [{ t: 'admit', item: beta, from: beta }]);
    t.same(
      wantOf(bench.feed({ t: 'stored', node: beta, tip: tip(40) })),
      [],
      'not while it is being checked',
    );
    const next = bench.feed({ t: 'settled', item: beta, refused: null });
    t.same(wantOf(next), [[beta, { blocks: { node: beta, from: 41, to: 296 } }]]);
  },
);

t.test(
  'while blocks are checked the next ones are asked for, of the same peer, one answer ahead',
  async (t) => {
    const bench = new Bench();
    bench.heads(beta, heads(1, { [beta]: tip(300) }));
    bench.heads(gamma, heads(1, { [beta]: tip(300) }));
    const have = (from: number) => ({ blocks: { node: beta, from, packed: 'x' } });
    const asked = (from: number) => [[beta, { blocks: { node: beta, from, to: Math.min(300, from + 255) } }]];
    t.match(bench.feed({ t: 'have', from: beta, body: have(1) }), [{ t: 'admit', follows: false }]);
    t.same(wantOf(bench.feed({ t: 'received', node: beta, upTo: 40 })), asked(41));
    t.same(wantOf(bench.feed({ t: 'received', node: beta, upTo: 40 })), [], 'once');
    t.match(
      bench.feed({ t: 'have', from: gamma, body: have(41) }),
      [{ code: 'unsolicited' }],
      'of that peer',
    );
    t.match(
      bench.feed({ t: 'have', from: beta, body: have(42) }),
      [{ code: 'unsolicited' }],
      'of that place',
    );
    t.match(bench.feed({ t: 'have', from: beta, body: have(41) }), [
      { t: 'admit', item: beta, follows: true },
    ]);
    t.same(
      wantOf(bench.feed({ t: 'received', node: beta, upTo: 40 })),
      [],
      'who sends the same again is not asked for more',
    );
    t.same(wantOf(bench.feed({ t: 'received', node: beta, upTo: 90 })), asked(91));
    bench.feed({ t: 'stored', node: beta, tip: tip(90) });
    t.same(wantOf(bench.feed({ t: 'settled', item: beta, refused: null })), [], 'it is asked for already');
    t.match(bench.feed({ t: 'have', from: beta, body: have(91) }), [{ t: 'admit', follows: false }]);

    t.same(wantOf(bench.feed({ t: 'received', node: beta, upTo: 140 })), asked(141));
    const late = bench.after(ANSWER_MS);
    t.same(
      [wantOf(late), named(late, 'discard')],
      [[], []],
      'what came stays, and is all there is from there',
    );
    t.same(
      wantOf(bench.feed({ t: 'received', node: beta, upTo: 141 })),
      [],
      'not soon after it gave nothing',
    );
    bench.feed({ t: 'stored', node: beta, tip: tip(140) });
    t.match(bench.feed({ t: 'settled', item: beta, refused: null }), [{ t: 'send-want', to: beta }]);
  },
);

t.test('what follows blocks that do not hold is not taken, and nothing of it stays', async (t) => {
  const bench = new Bench();
  bench.heads(beta, heads(1, { [beta]: tip(300) }));
  bench.feed({ t: 'have', from: beta, body: { blocks: { node: beta, from: 1, packed: 'x' } } });
  bench.feed({ t: 'received', node: beta, upTo: 40 });
  bench.feed({ t: 'settled', item: beta, refused: 'bad-block' });
  t.equal(bench.state.following.size, 0);
  const body = { blocks: { node: beta, from: 41, packed: 'x' } };
  t.match(bench.feed({ t: 'have', from: beta, body }), [{ code: 'unsolicited' }]);
  t.match(wantOf(bench.after(BACK_OFF_MS_MIN)), [[beta, { blocks: { from: 1 } }]]);
  bench.feed({ t: 'have', from: beta, body: { blocks: { node: beta, from: 1, packed: 'x' } } });
  bench.feed({ t: 'received', node: beta, upTo: 40 });
  bench.feed({ t: 'disconnected' });
  t.equal(bench.state.following.size, 0);
  t.same(wantOf(bench.feed({ t: 'received', node: beta, upTo: 80 })), [], 'not while nobody is there');
});

t.test(
  'no answer, junk or nothing new: another peer is asked, the same one only after a while',
  async (t) => {
    const bench = new Bench();
    bench.heads(beta, heads(1, { [beta]: tip(5) }));
    bench.heads(gamma, heads(1, { [beta]: tip(5) }));
    const body = { blocks: { node: beta, from: 1, to: 5 } };
    t.same(wantOf(bench.after(ANSWER_MS)), [[gamma, body]], 'no answer');
    const have = { blocks: { node: beta, from: 1, packed: 'x' } };
    bench.feed({ t: 'have', from: gamma, body: have });
    t.same(wantOf(bench.feed({ t: 'settled', item: beta, refused: 'bad-block' })), [], 'all have failed');
    t.same(wantOf(bench.after(BACK_OFF_MS_MIN)), [[beta, body]]);
    bench.feed({ t: 'have', from: beta, body: have });
    t.same(wantOf(bench.feed({ t: 'settled', item: beta, refused: null })), [[gamma, body]], 'nothing new');
    bench.feed({ t: 'have', from: gamma, body: have });
    const late = bench.after(ADMIT_MS);
    t.same(named(late, 'discard'), [{ t: 'discard', item: beta }], 'what waits in vain is forgotten');
  },
);

t.test('who goes away before it answers is not waited for', async (t) => {
  const body = { merges: { from: 2, to: 3 } };
  const other = new Bench();
  other.heads(beta, heads(3));
  other.heads(gamma, heads(3));
  other.feed({ t: 'gone', node: beta });
  t.ok(nextDue(other.state, other.now) <= other.now + GONE_MS);
  t.same(wantOf(other.after(GONE_MS - 1)), [], 'its answer may be on its way');
  t.same(wantOf(other.after(1)), [[gamma, body]]);

  const alone = new Bench();
  alone.heads(beta, heads(3));
  alone.feed({ t: 'gone', node: beta });
  alone.after(GONE_MS);
  t.same(wantOf(alone.heads(beta, heads(3))), [], 'who comes and goes is asked as one who failed');
  t.same(wantOf(alone.after(BACK_OFF_MS_MIN)), [[beta, body]]);
  alone.feed({ t: 'have', from: beta, body: { merges: { from: 2, packed: 'x' } } });
  alone.feed({ t: 'gone', node: beta });
  t.same(named(alone.after(ADMIT_MS - 1), 'discard'), [], 'what it has sent is here');
});

t.test('what waits for others has time as long as anything gets on', async (t) => {
  const bench = new Bench();
  bench.heads(beta, heads(1, { [beta]: tip(5) }));
  bench.feed({ t: 'have', from: beta, body: { blocks: { node: beta, from: 1, packed: 'x' } } });
  for (let i = 1; i <= 5; i++) {
    t.same(named(bench.after(ADMIT_MS - 1), 'discard'), []);
    bench.feed({ t: 'stored', node: self, tip: tip(i) });
  }
});

t.test('nobody can push what was not asked for, or ask for more than is fair', async (t) => {
  const bench = new Bench([[self, tip(4)]]);
  const pushed = bench.feed({ t: 'have', from: beta, body: { merges: { from: 2, packed: 'x' } } });
  t.same(pushed, [{ t: 'refused', from: beta, code: 'unsolicited' }]);
  bench.heads(beta, heads(3));
  for (const [from, first] of [
    [gamma, 2],
    [beta, 3],
  ] as const)
    t.match(bench.feed({ t: 'have', from, body: { merges: { from: first, packed: 'x' } } }), [
      { code: 'unsolicited' },
    ]);
  const want = { blocks: { node: self, from: 2, to: 200 } };
  const answer = bench.feed({ t: 'want', from: beta, body: want });
  t.same(answer, [
    { t: 'send-have', to: beta, item: self, what: { blocks: { node: self, from: 2, to: 4 } } },
  ]);
  t.same(bench.feed({ t: 'want', from: beta, body: want }), [], 'it is being answered');
  bench.feed({ t: 'answered', to: beta, item: self });
  t.equal(bench.feed({ t: 'want', from: beta, body: want }).length, 1);
  t.same(bench.feed({ t: 'want', from: beta, body: { merges: { from: 2, to: 3 } } }), [], 'not held here');
  const branches = Array.from({ length: ANSWERS_MAX }, (_, i) => i.toString(16).padStart(16, '0') as NodeId);
  for (const node of branches) bench.feed({ t: 'stored', node, tip: tip(1) });
  const asked = branches.flatMap((node) =>
    bench.feed({ t: 'want', from: beta, body: { blocks: { node, from: 1, to: 1 } } }),
  );
  t.equal(named(asked, 'send-have').length, ANSWERS_MAX - 1);
  t.same(named(asked, 'refused'), [{ t: 'refused', from: beta, code: 'busy' }]);
});

t.test('strangers are not listened to, and who left the charter is forgotten', async (t) => {
  const bench = new Bench();
  const stranger = 'd'.repeat(16) as NodeId;
  t.same(bench.heads(stranger, heads(9)), []);
  t.same(
    wantOf(bench.heads(beta, heads(1, { [stranger]: tip(3) }))),
    [],
    'a branch of no node of the charter',
  );
  bench.feed({ t: 'nodes', nodes: [self, gamma] });
  t.same([...bench.state.peers.keys()], []);
});

t.test('another block where ours ends is fetched as evidence; then the branch is left alone', async (t) => {
  const bench = new Bench([
    [self, tip(2)],
    [gamma, tip(3)],
  ]);
  const first = bench.heads(beta, heads(1, { [gamma]: tip(3, 'other'), [self]: tip(3) }));
  t.same(
    named(first, 'contradiction').map((told) => told.t === 'contradiction' && told.branch),
    [gamma, self],
  );
  t.same(wantOf(first), [[beta, { blocks: { node: gamma, from: 3, to: 3 } }]], 'and never the own branch');
  bench.feed({ t: 'have', from: beta, body: { blocks: { node: gamma, from: 3, packed: 'x' } } });
  bench.feed({ t: 'settled', item: gamma, refused: 'equivocation' });
  t.same(bench.heads(beta, heads(1, { [gamma]: tip(9, 'other') })), []);
  t.same(wantOf(bench.after(ANSWER_MS)), []);

  // A branch that leaves ours further back: its other block at our end is asked for.
  const other = new Bench([[gamma, tip(3)]]);
  other.heads(beta, heads(1, { [gamma]: tip(5) }));
  other.feed({ t: 'have', from: beta, body: { blocks: { node: gamma, from: 4, packed: 'x' } } });
  other.feed({ t: 'settled', item: gamma, refused: 'other-predecessor' });
  t.same(wantOf(other.after(BACK_OFF_MS_MIN)), [[beta, { blocks: { node: gamma, from: 3, to: 5 } }]]);
});

t.test('the views tell who is connected, ahead and behind; a quorum holds what enough say', async (t) => {
  const bench = new Bench([
    [self, tip(4)],
    [beta, tip(2)],
  ]);
  bench.heads(beta, heads(3, { [self]: tip(3), [beta]: tip(5) }));
  t.match(peerViews(bench.state, bench.now), [
    {
      node: beta,
      connected: true,
      height: 3,
      ahead: { blocks: 3, merges: 2 },
      behind: { blocks: 1, merges: 0 },
    },
    { node: gamma, connected: false, heardAt: null, height: null },
  ]);
  const held = (quorum: number) => Object.fromEntries(heldByQuorum(bench.state, [self, beta, gamma], quorum));
  t.same(held(1), { [self]: 4, [beta]: 2 });
  t.same(held(2), { [self]: 3, [beta]: 2 });
  t.same(held(3), {});
  bench.heads(gamma, heads(1, { [self]: tip(4, 'other') }));
  t.same(held(3), {}, 'a claim that contradicts counts for nothing');
  bench.feed({ t: 'gone', node: beta });
  t.notOk(peerViews(bench.state, bench.now)[0]?.connected);
  bench.now += SILENT_MS_MAX;
  t.notOk(peerViews(bench.state, bench.now)[1]?.connected, 'silent for too long');
});

t.test('what a quorum stands behind and nobody brings is asked for by its id, of who has it', async (t) => {
  const head = sha256('sought');
  const other = sha256('another');
  const bench = new Bench();
  const asked = (outputs: readonly Output[]) =>
    wantOf(outputs).flatMap(([to, body]) => ('head' in body ? [[to, body.head.from] as const] : []));
  bench.heads(beta, heads(1));
  bench.heads(gamma, heads(1));
  bench.feed({ t: 'sought', heads: [head], holders: [gamma] });
  t.same(asked(bench.after(SEEK_AFTER_MS - 1)), [], 'it may come by itself');
  bench.feed({ t: 'sought', heads: [head], holders: [gamma] });
  t.equal(nextDue(bench.state, bench.now), bench.now + 1, 'told again, it waits no longer');
  t.same(asked(bench.after(1)), [[gamma, 0]], 'beta did not vote for it');
  const have = (from: number): Event => ({
    t: 'have',
    from: gamma,
    body: { head: { id: head, from, packed: '' } },
  });
  t.match(bench.feed({ ...have(0), from: beta } as Event), [{ t: 'refused', code: 'unsolicited' }]);
  t.match(bench.feed(have(0)), [{ t: 'admit', item: head }]);
  bench.feed({ t: 'collected', head, upTo: 7 });
  t.same(asked(bench.feed({ t: 'settled', item: head, refused: null })), [[gamma, 8]], 'and the rest of it');
  bench.feed(have(8));
  bench.feed({ t: 'settled', item: head, refused: 'not-that-head' });
  t.same(
    asked(bench.heads(beta, heads(2))),
    [[beta, 0]],
    'who is ahead has it too, and gives it from the beginning',
  );
  bench.feed({ t: 'have', from: beta, body: { head: { id: head, from: 0, packed: '' } } });
  bench.feed({ t: 'collected', head, upTo: null });
  t.same(asked(bench.feed({ t: 'settled', item: head, refused: null })), [], 'it is here');
  bench.feed({ t: 'sought', heads: [other], holders: [gamma] });
  bench.feed({ t: 'adopted', height: 2, main: main(2) });
  t.same(asked(bench.after(SEEK_LATE_MS)), [], 'the next merge needs other blocks');
  t.match(
    bench.feed({ t: 'want', from: beta, body: { head: { id: head, from: 0 } } }),
    [{ t: 'send-have', to: beta, item: head }],
    'who asks is answered out of the store',
  );
});

t.test('a branch that its node left in two is asked for where a proven merge needs it', async (t) => {
  const bench = new Bench([[gamma, tip(1)]]);
  bench.heads(beta, heads(2, { [gamma]: tip(2) }));
  bench.feed({ t: 'have', from: beta, body: { blocks: { node: gamma, from: 2, packed: '' } } });
  bench.feed({ t: 'settled', item: gamma, refused: 'equivocation' });
  t.ok(bench.state.frozen.has(gamma), 'nothing more of it is fetched');
  bench.feed({ t: 'sought', heads: [tip(2).head], holders: [] });
  // Of its branch nothing is asked, of the merges there is no answer.
  const outputs = bench.after(SEEK_AFTER_MS);
  t.same(
    wantOf(outputs).map(([, body]) => Object.keys(body)),
    [['head']],
  );
  bench.feed({ t: 'resumed', node: gamma, tip: tip(2) });
  t.same([...bench.state.frozen], [], 'what was put in place of the other goes on');
});

const rawOf = (block: Block): RawBlock => ({
  raw: block.raw,
  entries: Buffer.from(block.entries.map(({ text }) => `${text}\n`).join('')),
});

t.test('the quarantine lets through what holds, and names what does not', async (t) => {
  const town = new SmallTown(['alpha']).people();
  const put = (key: string): Block =>
    town.block('alpha', [town.entry('alpha', 'ada', 'notes.put', { key, value: 1 } as JsonObject)]);
  const blocks = [...(town.branches.get('alpha')?.blocks ?? []), put('one'), put('two')];
  town.merge();
  blocks.push(put('three'));
  const key = publicKeyOf(secretOf('alpha')) as KeyId;
  const node = nodeIdOf(key);
  const known = new Map(
    [...new Set(blocks.map(({ base }) => base))].map((base) => [base, base === town.head.id] as const),
  );
  t.equal(known.size, 3, 'three bases');
  // The git ids of the bases, from the blocks that name them as parents.
  const oids = new Map<Sha256, string>([[town.head.id, town.head.oid]]);
  for (const { base, raw } of blocks) {
    const parents = [
      ...Buffer.from(raw)
        .toString('latin1')
        .matchAll(/^parent ([0-9a-f]{40})$/gm),
    ];
    const last = parents[parents.length - 1]?.[1];
    if (!oids.has(base) && last !== undefined) oids.set(base, last);
  }
  const branch: BranchContext = {
    town: town.town,
    line: 'main',
    node,
    keyOf: (id) => (id === node ? key : undefined),
    tip: null,
    heldAt: (seq) => blocks[seq - 1]?.id ?? null,
    mergeOid: (base) => (oids.get(base) ?? null) as never,
  };
  const batch = blocks.map(rawOf);
  const ids = (list: readonly Block[]): readonly Sha256[] => list.map(({ id }) => id);
  const whole = admitBlocks(batch, branch);
  t.same(ids(whole.admitted), ids(blocks));
  t.equal(whole.refused, null);

  const early = admitBlocks(batch, {
    ...branch,
    mergeOid: (base) => (base === town.head.id ? null : branch.mergeOid(base)),
  });
  t.equal(early.admitted.length, blocks.length - 1);
  t.equal(early.waiting.length, 1, 'built on a merge that is not here');

  const at = (n: number): BranchContext => ({ ...branch, tip: blocks[n - 1] ?? null });
  t.same(ids(admitBlocks(batch, at(2)).admitted), ids(blocks.slice(2)), 'what is held is left out');
  const code = (items: readonly RawBlock[], context: BranchContext): string | undefined =>
    admitBlocks(items, context).refused?.code;
  const [first, second] = batch as [RawBlock, RawBlock];
  t.equal(code([second], branch), 'gap');
  t.equal(code(batch, { ...branch, keyOf: () => undefined }), 'unknown-node');
  t.equal(code(batch, { ...branch, town: sha256('other') }), 'other-branch');
  t.equal(code([{ ...first, entries: second.entries }], branch), 'bad-block');
  t.equal(code([{ ...first, raw: first.raw.subarray(0, 100) }], branch), 'bad-commit');
  t.equal(code(batch, { ...branch, keyOf: () => publicKeyOf(secretOf('ada')) }), 'bad-signature');
  const changed = Buffer.from(
    Buffer.from(first.raw).toString('latin1').replace('Seq: 1\n', 'Seq: 2\n'),
    'latin1',
  );
  t.equal(code([first, { ...first, raw: changed }], branch), 'bad-signature');

  // The node signs another block for a number that is taken.
  const entry = town.entry('alpha', 'ada', 'notes.put', { key: 'lie', value: 1 });
  const other = (seq: number, prev: Sha256): RawBlock => {
    const place = { town: town.town, line: 'main', node, seq, prev, base: town.head.id };
    const parents = { prev: null, main: town.head.oid };
    return rawOf(makeBlock(place, parents, [entry], T0 as Millis, secretOf('alpha')).block);
  };
  const { refused } = admitBlocks([other(1, NO_BLOCK)], at(2));
  t.match(refused, { code: 'equivocation', equivocation: { node, seq: 1, held: blocks[0]?.id as string } });
  t.equal(code([other(3, sha256('elsewhere'))], at(2)), 'other-predecessor');
});

t.test('what waits in quarantine is bounded for each peer', async (t) => {
  const quarantine = new Quarantine<Uint8Array>((part) => part.length, 100);
  const parts = (...sizes: number[]) => sizes.map((size) => new Uint8Array(size));
  quarantine.put(beta, beta, parts(30, 30));
  quarantine.put('merges', gamma, parts(90));
  t.throws(() => quarantine.put(self, beta, parts(41)), { code: 'quarantine-full' });
  t.same([quarantine.bytesOf(beta), quarantine.bytesOf(gamma)], [60, 90]);
  quarantine.keepRest(beta, parts(30));
  quarantine.put(self, beta, parts(41));
  t.same(quarantine.items(), ['merges', beta, self]);
  quarantine.keepRest(beta, []);
  quarantine.discard('merges');
  t.same(quarantine.items(), [self]);
  t.equal(quarantine.get(beta), null);
  quarantine.append(self, beta, parts(59));
  t.throws(() => quarantine.append(self, beta, parts(1)), { code: 'quarantine-full' });
  t.match(
    [quarantine.last(self)?.count, quarantine.batches(self).length, quarantine.bytesOf(beta)],
    [2, 2, 100],
  );
  quarantine.keepRest(self, []);
  t.equal(quarantine.get(self)?.batch[0]?.length, 59, 'the next is the first now');
  quarantine.put(self, beta, parts(1));
  t.equal(quarantine.bytesOf(beta), 1, 'in place of all that waited');
});
