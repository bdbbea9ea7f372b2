/** Blocks, merges and heads of a node that lies: nothing is taken but what holds, and nobody waits for the rest. */
import { deflateSync } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { NO_BLOCK, type Block } from '../ledger/block.js';
import type { JsonObject, Millis, NodeId, Sha256 } from '../ledger/ids.js';
import { readStanding } from '../ledger/kernel-evidence.js';
import { readBranch } from '../ledger/order.js';
import { makeMerge } from '../ledger/merge.js';
import { packMerges } from '../sync/block-batch.js';
import type { HaveBody, WantBody } from '../sync/bodies.js';
import { headsTopic } from '../sync/message.js';
import { readmissionBody } from './readmission.js';
import { until, type CoreNode } from './testing/core-town.js';
import { certify, placeOf, rawOf, tipOf, type HostileNode } from './testing/hostile-node.js';
import { goOn, hash, headsOf, refusedBy, stranger, syncAll, townWithLiar } from './testing/hostile-town.js';

t.setTimeout(600_000);

t.test('heads that promise what is not there are asked for, then ever more rarely', async (t) => {
  const { alpha, beta, gamma, all, town } = await townWithLiar(t);
  const promise = headsOf(alpha, { [gamma.keys.id]: { seq: 500, head: hash('gone') } }, 1000);
  await gamma.heads(promise);
  await until('both asked', () => gamma.wants.length >= 4, all);
  await sleep(3000);
  t.equal(
    gamma.wants.length,
    4,
    'each asked once for the merges and once for the branch, and waits for an answer',
  );
  gamma.wants.length = 0;
  gamma.answer = (want): HaveBody | null =>
    'merges' in want
      ? { merges: { from: want.merges.from, packed: 'junk' } }
      : 'blocks' in want
        ? { blocks: { node: want.blocks.node, from: want.blocks.from, packed: 'junk' } }
        : null;
  await until('the first to be asked again', () => gamma.wants.length >= 4, all, 20_000);
  // A stranger at the broker takes their heads back again and again; gamma tells its own as often as it can.
  for (let i = 0; i < 24; i += 1) {
    await gamma.publish(headsTopic(town, alpha.keys.id), '', true);
    await gamma.heads(promise);
    await sleep(250);
  }
  const most = Math.max(
    ...all.flatMap(({ keys }) =>
      ['blocks', 'merges'].map(
        (what) => gamma.wants.filter(({ from, body }) => from === keys.id && what in body).length,
      ),
    ),
  );
  t.ok(most <= 3, `in six seconds of junk each thing is asked for at most three times (${most})`);
  t.ok((alpha.refused()['bad-batch'] ?? 0) >= 2 && (beta.refused()['bad-batch'] ?? 0) >= 2);
  await gamma.leave();
  await goOn(t, all);
});

t.test('of the branch that a liar offers, nothing is taken but what holds', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const at = (): ReturnType<typeof placeOf> => placeOf(alpha);
  const me = gamma.keys.id;
  /** The answer to the next want of gamma's branch, whoever asks. */
  const offer = async (tip: { seq: number; id: Sha256 }, answer: HaveBody): Promise<void> => {
    gamma.answer = (want) => ('blocks' in want ? answer : null);
    await gamma.heads(headsOf(alpha, { [me]: tipOf(tip) }));
  };
  let last = gamma.block(null, at(), [gamma.entry('notes.put', { key: 'g', value: 1 }, at().id)]);
  await offer(last, gamma.blocks(1, [rawOf(last)]));
  const has = (): boolean => all.every(({ store }) => store.block(last.id) !== null);
  await until('its first block', has, all);
  const flipped = (bytes: Uint8Array, i: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[i] = (copy[i] as number) ^ 1;
    return copy;
  };
  const next = (n?: number) =>
    gamma.block(last, at(), [
      gamma.entry('notes.put', { key: 'g', value: 2 }, at().id, n === undefined ? {} : { n }),
    ]);
  const own = alpha.store.lastBlock(alpha.keys.id, 'main');
  const foreign = { raw: own?.raw as Uint8Array, entries: Buffer.from('{}\n') };
  const packed = (bytes: Buffer): HaveBody => ({
    blocks: { node: me, from: last.seq + 1, packed: bytes.toString('base64') },
  });
  const lies: [string, () => HaveBody][] = [
    [
      'bad-signature',
      () => {
        const { raw, entries } = rawOf(next());
        return gamma.blocks(last.seq + 1, [
          { raw: flipped(raw, Buffer.from(raw).indexOf('notes.put')), entries },
        ]);
      },
    ],
    [
      'bad-signature',
      () => {
        const { raw, entries } = rawOf(next());
        const text = Buffer.from(entries).toString().replace('"value":2', '"value":3');
        return gamma.blocks(last.seq + 1, [{ raw, entries: Buffer.from(text) }]);
      },
    ],
    ['bad-block', () => gamma.blocks(last.seq + 1, [{ ...rawOf(next()), entries: rawOf(next()).entries }])],
    [
      'bad-signature',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(
            gamma.block(last, at(), [gamma.entry('notes.put', {}, at().id)], {
              secretKey: stranger.secretKey,
            }),
          ),
        ]),
    ],
    [
      'gap',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(next(), at(), [gamma.entry('notes.put', {}, at().id)])),
        ]),
    ],
    ['other-branch', () => gamma.blocks(last.seq + 1, [foreign])],
    [
      'other-predecessor',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(last, at(), [gamma.entry('notes.put', {}, at().id)], { prev: hash('other') })),
        ]),
    ],
    [
      'bad-signature',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(
            gamma.block(last, { ...at(), id: hash('no merge') }, [gamma.entry('notes.put', {}, at().id)], {
              secretKey: stranger.secretKey,
            }),
          ),
        ]),
    ],
    [
      'unknown-base',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(last, at(), [gamma.entry('notes.put', {}, hash('no merge'))])),
        ]),
    ],
    ['duplicate-entry', () => gamma.blocks(last.seq + 1, [rawOf(next(1))])],
    ['batch-too-large', () => packed(deflateSync(Buffer.alloc(100_000_000, 0x20)))],
    ['bad-batch', () => packed(deflateSync(Buffer.from('{"raw":"","entries":"","more":1}\n')))],
    ['bad-batch', () => packed(deflateSync(Buffer.from('[]\n')))],
    ['bad-batch', () => packed(randomBytes(50_000))],
    [
      'bad-commit',
      () => gamma.blocks(last.seq + 1, [{ raw: Buffer.from('tree'), entries: Buffer.from('\n') }]),
    ],
  ];
  for (const [code, lie] of lies) {
    t.comment(code);
    const answer = lie();
    syncAll(all);
    await refusedBy(all, code, () => offer({ seq: last.seq + 5, id: hash('further') }, answer));
    // What holds is taken as before.
    syncAll(all);
    const good = next();
    await offer(good, gamma.blocks(good.seq, [rawOf(good)]));
    last = good;
    await until('a good block after it', has, all, 20_000);
  }
  await gamma.leave();
  await goOn(t, all);
});

/** Gives these blocks to whoever asks for gamma's branch; the asker may matter. */
const offering =
  (gamma: HostileNode, blocksFor: (asker: NodeId) => readonly Block[]) =>
  (want: WantBody): HaveBody | null => {
    const asker = gamma.wants[gamma.wants.length - 1]?.from as NodeId;
    if (!('blocks' in want)) return null;
    const { from } = want.blocks;
    const blocks = blocksFor(asker).filter(({ seq }) => seq >= from);
    return blocks.length === 0 ? null : gamma.blocks(from, blocks.map(rawOf));
  };

const standingOf = ({ core }: CoreNode, node: NodeId) => readStanding(core.main.state, node)?.status;

t.test(
  'two blocks with one number suspend their node at every honest node, until a steward readmits it',
  async (t) => {
    const { alpha, beta, gamma, all } = await townWithLiar(t);
    const me = gamma.keys.id;
    const at = placeOf(alpha);
    const block = (key: string) =>
      gamma.block(null, at, [gamma.entry('notes.seen', { key: `gamma-${key}` }, at.id)]);
    const [one, other] = [block('one'), block('other')];
    // Each is told another: neither has a quorum, and neither is merged.
    gamma.answer = offering(gamma, (asker) => [asker === alpha.keys.id ? one : other]);
    await gamma.heads(headsOf(alpha, { [me]: { seq: 1, head: hash('whichever') } }));
    await until(
      'each to have its own',
      () => alpha.store.block(one.id) !== null && beta.store.block(other.id) !== null,
      all,
    );
    await until(
      'the suspension at both',
      () => all.every((node) => standingOf(node, me) === 'suspended'),
      all,
    );
    t.ok(
      all.every(({ alarms }) => alarms.some((alarm) => /^equivocation: .*node readmit/.test(alarm))),
      'people are told whom it is about and what to do',
    );
    t.ok(
      all.every(({ store }) => store.ref(`refs/evidence/${me}/1`) !== null),
      'the other block is kept in git',
    );
    await gamma.leave();
    await goOn(t, all, /equivocation|branches-differ/);
    t.ok(
      all.every(({ core }) => readBranch(core.main.state, me, 'main') === undefined),
      'of its branch nothing is merged',
    );
    await alpha.core.appender.fact('notes.seen', { key: 'own' });
    await until('facts of the others to be merged as before', () => beta.note('own') !== undefined, all);

    const { store, core } = alpha;
    t.match(
      await readmissionBody(store, core.main, me, undefined),
      { head: NO_BLOCK, seq: 0, next: 1001 },
      'a steward is offered to go on from what is merged',
    );
    await t.rejects(readmissionBody(store, core.main, me, other.id), { code: 'no-such-block' });
    const readmit = await readmissionBody(store, core.main, me, one.id.slice(0, 12));
    t.same(readmit, { node: me, line: 'main', head: one.id, seq: 1, next: 1001 });
    const on = gamma.block(one, placeOf(alpha), [gamma.entry('notes.seen', { key: 'gamma-on' }, at.id)], {
      seq: 1001,
    });
    await alpha.claim('ada', 'node.readmit', readmit);
    await until('the readmission', () => all.every((node) => standingOf(node, me) === 'active'), all);
    gamma.answer = offering(gamma, () => [one, on]);
    await gamma.heads(headsOf(alpha, { [me]: tipOf(on) }));
    await until(
      'its branch to go on',
      () => all.every((node) => readBranch(node.core.main.state, me, 'main')?.head === on.id),
      all,
    );
    t.same(
      all.map((node) => [node.note('gamma-one'), node.note('gamma-other'), node.note('gamma-on')]),
      all.map(() => ['"seen"', undefined, '"seen"']),
    );
    t.ok(
      all.every(({ store }) => store.block(other.id) === null && store.lastBlock(me, 'main')?.seq === 1001),
    );
    await gamma.leave();
    await goOn(t, all, /equivocation|branches-differ/);
    t.same(
      all.map((node) => standingOf(node, me)),
      ['active', 'active'],
      'the same evidence does not suspend it again',
    );
  },
);

t.test('who has signed two blocks is not asked for more of its branch', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const me = gamma.keys.id;
  const block = (key: string) =>
    gamma.block(null, placeOf(alpha), [gamma.entry('notes.put', { key, value: 1 }, alpha.head.id)]);
  const [one, other] = [block('one'), block('other')];
  gamma.answer = () => gamma.blocks(1, [rawOf(one)]);
  await gamma.heads(headsOf(alpha, { [me]: tipOf(one) }));
  await until('the one', () => all.every(({ store }) => store.block(one.id) !== null), all);
  gamma.answer = () => gamma.blocks(1, [rawOf(other)]);
  await refusedBy(all, 'equivocation', () => gamma.heads(headsOf(alpha, { [me]: tipOf(other) })));
  gamma.wants.length = 0;
  await gamma.heads(headsOf(alpha, { [me]: { seq: 9, head: hash('more') } }));
  await sleep(1000);
  t.same(
    gamma.wants.filter(({ body }) => 'blocks' in body),
    [],
    'it is not asked for more',
  );
  await gamma.leave();
  await goOn(t, all, /equivocation|branches-differ/);
});

t.test('a block on a merge that never comes waits within a bound, and nobody waits for it', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const me = gamma.keys.id;
  const stuck = gamma.block(null, { ...placeOf(alpha), id: hash('never') }, [
    gamma.entry('notes.put', {}, alpha.head.id),
  ]);
  gamma.answer = () => gamma.blocks(1, [rawOf(stuck)]);
  await gamma.heads(headsOf(alpha, { [me]: tipOf(stuck) }));
  await until('both asked', () => gamma.wants.length >= 2, all);
  await goOn(t, all);
  await goOn(t, all);
  // What waited ten seconds without any progress is asked for again, each time after a longer pause.
  const each = all.map(({ keys }) => gamma.wants.filter(({ from }) => from === keys.id).length);
  t.ok(Math.max(...each) <= 4, `each node asks for it now and then, not all the time (${each.join(', ')})`);
});

t.test('entries that a liar puts into sound blocks are judged, not stumbled over', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const base = alpha.head.id;
  const odd: [string, JsonObject][] = [
    ['constructor.put', {}],
    ['notes.constructor', {}],
    ['kernel.constructor', {}],
    ['nobody.knows', {}],
    ['notes.put', { key: { toString: 1 } }],
    ['notes.put', { key: '../../etc', value: null }],
    ['notes.forbid', { key: [] }],
    ['credit.transfer', { to: {}, amount: '7' }],
    ['credit.transfer', { to: '__proto__', amount: -1 }],
    ['member.found', {}],
    ['member.join', { invitation: {} }],
    ['member.join', { invitation: { town: 1, by: 'x', sig: {} } }],
    ['member.add-key', { key: 7 }],
    ['member.suspend', { member: { a: 1 } }],
    ['key.revoke', { key: null }],
    ['member.revoke-key', { key: {} }],
    ['charter.change', { set: { '/__proto__/x': 1 }, remove: ['/'] }],
    ['charter.change', { set: [], remove: {} }],
    ['allowance.open', { node: {}, amount: 1e15 }],
    ['evidence.equivocation', { first: {}, second: [] }],
  ];
  const entries = odd.map(([type, body], i) =>
    gamma.entry(type, body, base, { at: i % 2 === 0 ? 0 : Number.MAX_SAFE_INTEGER }),
  );
  const block = gamma.block(null, placeOf(alpha), entries);
  gamma.answer = (want) => ('blocks' in want ? gamma.blocks(1, [rawOf(block)]) : null);
  await gamma.heads(headsOf(alpha, { [gamma.keys.id]: tipOf(block) }));
  await until('its block', () => all.every(({ store }) => store.block(block.id) !== null), all);
  await gamma.leave();
  await goOn(t, all);
  await until(
    'all judged',
    // Evidence is a fact, and facts are never rejected.
    () => entries.every(({ id }) => /rejected|irregular/.test(alpha.store.entry(id)?.verdict ?? '')),
    all,
  );
  t.match(alpha.store.entry(entries[0]?.id as never)?.code, /^[a-z-]+$/);
});

t.test('a merge without its proof is not taken, whatever else it has', async (t) => {
  const { alpha, beta, gamma, all, town } = await townWithLiar(t);
  const result = { writes: [], testedBy: [], receipt: { height: 0, entries: [], expired: [], notices: [] } };
  const next = (more = 1) => ({ town, height: alpha.head.height + more, parent: alpha.head.id });
  const raw = (): Uint8Array => {
    const { main } = alpha.core;
    const place = { ...next(), line: 'main', time: Date.now() as Millis, heads: [], node: gamma.keys.id };
    return makeMerge(place, { main: main.head.oid, heads: [] }, main.tree, result, gamma.keys.secretKey).merge
      .raw;
  };
  const offered = (bytes: Uint8Array, certificate: string): HaveBody => ({
    merges: { from: alpha.head.height + 1, packed: packMerges([{ raw: bytes, certificate }]).packed },
  });
  const proven = alpha.store.merge(alpha.head.height);
  const certificate = alpha.store.certificate(alpha.head.height) ?? '';
  const lies: [string, () => HaveBody][] = [
    ['bad-certificate', () => offered(raw(), certify(['gamma'], next(), raw()))],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'stranger'], next(), bytes));
      },
    ],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'gamma'], next(), bytes));
      },
    ],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'beta'], next(), bytes).replace(/"sig":"../, '"sig":"00'));
      },
    ],
    [
      'bad-certificate',
      () => offered(raw(), certify(['beta', 'gamma'], next(), Buffer.from('another merge'))),
    ],
    ['bad-certificate', () => offered(raw(), '{}')],
    ['not-canonical', () => offered(raw(), `${certificate} `)],
    ['not-canonical', () => offered(raw(), '')],
    ['gap', () => offered(raw(), certify(['beta', 'gamma'], next(1000), raw()))],
    ['other-line', () => offered(raw(), certify(['beta', 'gamma'], { ...next(), parent: hash('x') }, raw()))],
    // Even where a quorum stands behind it: what does not replay is not taken.
    [
      'bad-merge',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['beta', 'gamma'], next(), bytes));
      },
    ],
    [
      'bad-commit',
      () => {
        const bytes = Buffer.from('no merge');
        return offered(bytes, certify(['beta', 'gamma'], next(), bytes));
      },
    ],
  ];
  t.ok(proven);
  for (const [i, [code, lie]] of lies.entries()) {
    t.comment(code);
    const { head } = alpha;
    const answer = lie();
    gamma.answer = (want) => ('merges' in want ? answer : null);
    syncAll(all);
    await refusedBy(all, code, () => gamma.heads(headsOf(alpha, {}, 1)));
    t.same(
      all.map((node) => node.head),
      [head, head],
      'main is where it was',
    );
    await gamma.leave();
    if (code === 'bad-merge')
      for (const node of all)
        t.match(node.alarms, [/^bad-merge: /], 'people are told that a quorum signed it');
    if (i % 3 === 2) await goOn(t, all, /^bad-/);
  }
  await goOn(t, all, /^bad-/);
  t.equal(beta.head.id, alpha.head.id);
});
