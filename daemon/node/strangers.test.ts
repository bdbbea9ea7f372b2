/**
 * A new node that knows the town by its invitation alone, among strangers: of a host that lies it keeps nothing, and names the lie; with
 * an honest one it comes to the same content, each merge by its certificate. STRANGERS=20 goes through the lies so many times (once else).
 */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Sha256 } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import { startBroker } from '../sync/broker.js';
import { packBlocks, packMerges, unpackBlocks, unpackMerges, type RawMerge } from '../sync/block-batch.js';
import type { HaveBody, HeadsBody, WantBody } from '../sync/bodies.js';
import { packObjects } from '../sync/object-batch.js';
import { eventually } from '../testing/eventually.js';
import { TownOfNodes, type Board } from '../testing/town-of-nodes.js';
import { blobObject } from '../ledger/git-object.js';
import { BEHIND_MIN } from './catch-up.js';
import { PeerAnswers } from './peer-answers.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './testing/core-town.js';
import { certify, HostileNode } from './testing/hostile-node.js';
import { verifyTown } from './verify-town.js';

t.setTimeout(3_600_000);

const ROUNDS = Number(process.env['STRANGERS'] ?? 1);
const NAMES = ['alpha', 'beta', 'gamma', 'delta'];
const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));

/** Alpha, beta and gamma are validators, delta is let in. @param name another one is another town */
const genesis = (name: string): Genesis =>
  genesisOf(NAMES, (charter) => ({
    ...charter,
    name,
    validators: NAMES.slice(0, 3).map((one) => keysOf(one).id),
  }));

/** A town of alpha and beta with some history, at a broker of its own. */
async function townWithHistory(t: Test, folder: string, name: string) {
  const broker = await startBroker(0);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const start = (who: string): Promise<CoreNode> =>
    CoreNode.start({ folder: join(folder, name, who), name: who, genesis: genesis(name), url });
  const [alpha, beta] = (await Promise.all(['alpha', 'beta'].map(start))) as [CoreNode, CoreNode];
  t.teardown(async () => {
    for (const node of [alpha, beta]) await node.stop();
    await broker.close();
  });
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await until('the founding', () => agree([alpha, beta]) && alpha.head.height > 0, [alpha, beta]);
  for (let i = 0; i < BEHIND_MIN + 3; i += 1) {
    for (const node of [alpha, beta])
      await node.claim('ada', 'notes.put', { key: `${node.name}-${i}`, value: `${name} ${i}` });
    const { height } = alpha.head;
    await until(`merge ${i}`, () => alpha.head.height > height && agree([alpha, beta]), [alpha, beta]);
  }
  return { alpha, beta, url };
}

/** What a node has, told as if its history were so high. */
const headsOf = (node: CoreNode, height: number): HeadsBody => ({
  height,
  main: node.store.merge(height)?.id as Sha256,
  tips: Object.fromEntries(
    node.store.branches(10).map(({ node: branch, seq, head }) => [branch, { seq, head }]),
  ),
});

const flipped = (bytes: Uint8Array, at: number): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
};

interface Lie {
  readonly what: string;
  /** The names by which it may be refused. */
  readonly codes: readonly string[];
  /** The lie in place of what is true; null: no answer. */
  readonly twist: (true_: HaveBody, want: WantBody) => HaveBody | null | Promise<HaveBody | null>;
  /** Whether the newcomer looks for a state to stand on before the history is here. */
  readonly ahead?: boolean;
}

t.test('of a host that lies a newcomer keeps nothing, and with an honest one it gets all', async (t) => {
  const folder = scratchFolder();
  t.teardown(() => folder.remove());
  const town = await townWithHistory(t, folder.path, 'Here');
  const other = await townWithHistory(t, folder.path, 'Elsewhere');
  const place = await startBroker(0);
  t.teardown(() => place.close());
  const url = `mqtt://127.0.0.1:${place.port}`;
  const liar = await HostileNode.open('gamma', genesis('Here').merge.content, url, NAMES);
  t.teardown(() => liar.client.endAsync(true));
  const answersOf = ({ store, repository }: CoreNode): PeerAnswers =>
    new PeerAnswers(store, (oid) => repository.read(oid));
  const [truth, fiction] = [answersOf(town.alpha), answersOf(other.alpha)];

  const merges = (twist: (merge: RawMerge, height: number) => RawMerge) => (body: HaveBody) => {
    if (!('merges' in body)) return body;
    const { from, packed } = body.merges;
    const twisted = unpackMerges(packed).map((merge, i) => twist(merge, from + i));
    return { merges: { from, packed: packMerges(twisted).packed } };
  };
  const firstBlock =
    (change: (raw: Uint8Array, entries: Uint8Array) => { raw: Uint8Array; entries: Uint8Array }) =>
    (body: HaveBody): HaveBody | null => {
      if (!('blocks' in body)) return null;
      const [first, ...rest] = unpackBlocks(body.blocks.packed);
      const blocks = first ? [change(first.raw, first.entries), ...rest] : [];
      return { blocks: { ...body.blocks, packed: packBlocks(blocks).packed } };
    };
  const onlyMerges = (twist: (body: HaveBody) => HaveBody | null) => (body: HaveBody) =>
    'merges' in body ? twist(body) : null;
  const parentOf = (height: number): Sha256 => town.alpha.store.merge(height - 1)?.id as Sha256;
  const forged = (names: readonly string[]) =>
    merges(({ raw }, height) => {
      const about = { town: town.alpha.core.main.town, height, parent: parentOf(height) };
      return { raw, certificate: certify(names, about, raw) };
    });
  const lies: readonly Lie[] = [
    {
      what: 'a pack changed in one letter',
      codes: ['bad-batch'],
      twist: (body) => {
        if (!('blocks' in body)) return null;
        const { packed } = body.blocks;
        const at = packed.length >> 1;
        const letter = packed[at] === 'A' ? 'B' : 'A';
        return { blocks: { ...body.blocks, packed: packed.slice(0, at) + letter + packed.slice(at + 1) } };
      },
    },
    {
      what: 'a pack cut short',
      codes: ['bad-batch'],
      twist: (body) =>
        'blocks' in body ? { blocks: { ...body.blocks, packed: body.blocks.packed.slice(0, -8) } } : null,
    },
    {
      what: 'a block changed in one bit',
      codes: ['bad-signature', 'bad-commit', 'bad-block', 'not-canonical'],
      twist: firstBlock((raw, entries) => ({ raw: flipped(raw, raw.length - 2), entries })),
    },
    {
      what: 'entries changed in one bit',
      codes: ['bad-block', 'bad-entry', 'bad-signature', 'not-canonical'],
      twist: firstBlock((raw, entries) => ({ raw, entries: flipped(entries, entries.length >> 1) })),
    },
    {
      what: 'entries of another town under blocks of this one',
      codes: ['bad-block', 'bad-entry'],
      twist: async (body, want) => {
        const elsewhere = await fiction.to(want);
        if (!('blocks' in body) || elsewhere === null || !('blocks' in elsewhere)) return null;
        const [theirs] = unpackBlocks(elsewhere.blocks.packed);
        return theirs ? firstBlock((raw) => ({ raw, entries: theirs.entries }))(body) : null;
      },
    },
    {
      what: 'the blocks of another town',
      codes: ['other-branch'],
      twist: (_, want) => ('blocks' in want ? fiction.to(want) : null),
    },
    {
      what: 'the merges of another town',
      codes: ['other-line'],
      twist: (_, want) => ('merges' in want ? fiction.to(want) : null),
    },
    {
      what: 'merges that the liar alone signed',
      codes: ['bad-certificate'],
      twist: onlyMerges(forged(['gamma'])),
    },
    {
      what: 'merges that the liar signed with strangers',
      codes: ['bad-certificate'],
      twist: onlyMerges(forged(['gamma', 'delta', 'stranger'])),
    },
    {
      what: 'merges with the certificates of others',
      codes: ['bad-certificate', 'gap'],
      twist: onlyMerges(
        merges(({ raw }, height) => ({
          raw,
          certificate: town.alpha.store.certificate((height % town.alpha.head.height) + 1) ?? '',
        })),
      ),
    },
    {
      what: 'a merge changed in one bit',
      codes: ['bad-certificate', 'bad-commit'],
      twist: onlyMerges(
        merges(({ raw, certificate }) => ({ raw: flipped(raw, raw.length - 2), certificate })),
      ),
    },
    {
      what: 'merges without the first',
      codes: ['gap'],
      twist: onlyMerges((body) => {
        if (!('merges' in body)) return null;
        return {
          merges: { ...body.merges, packed: packMerges(unpackMerges(body.merges.packed).slice(1)).packed },
        };
      }),
    },
    {
      what: 'a state that the liar alone signed',
      codes: ['bad-certificate'],
      ahead: true,
      twist: (body) => {
        if (!('merge' in body)) return null;
        const { height, packed } = body.merge;
        const [{ raw }] = unpackMerges(packed) as [RawMerge];
        const about = { town: town.alpha.core.main.town, height, parent: parentOf(height) };
        return {
          merge: {
            height,
            packed: packMerges([{ raw, certificate: certify(['gamma'], about, raw) }]).packed,
          },
        };
      },
    },
    {
      what: 'the state of another town',
      codes: ['bad-certificate', 'other-town', 'other-line'],
      ahead: true,
      twist: (_, want) => ('merge' in want ? fiction.to(want) : null),
    },
    {
      what: 'a state that does not fit its merge',
      codes: ['bad-object'],
      ahead: true,
      twist: (body, want) => {
        if ('merge' in body) return body;
        if (!('objects' in want) || !('objects' in body)) return null;
        return {
          objects: {
            ...body.objects,
            packed: packObjects([blobObject(Buffer.from('all credit is mine'))], 0) as string,
          },
        };
      },
    },
    {
      what: 'the objects of another state',
      codes: ['bad-object', 'bad-batch'],
      ahead: true,
      twist: async (body, want) => {
        if ('merge' in body) return body;
        if (!('objects' in want)) return null;
        const last = await other.alpha.repository.read(other.alpha.core.main.head.oid);
        const tree = /^tree ([0-9a-f]{40})/.exec(Buffer.from(last.data).toString('latin1'))?.[1];
        const elsewhere = await fiction.to({ objects: { ids: [tree as never], at: 0 } });
        if (elsewhere === null || !('objects' in elsewhere)) return null;
        return { objects: { ...elsewhere.objects, id: want.objects.ids[0] as never } };
      },
    },
  ];

  // So high that the liar has an answer of each of the towns.
  const both = Math.min(town.alpha.head.height, other.alpha.head.height);
  const newcomer = (name: string, ahead: boolean, at = url): Promise<CoreNode> =>
    CoreNode.start({
      folder: join(folder.path, name),
      name: 'delta',
      genesis: genesis('Here'),
      url: at,
      catchesUp: ahead,
    });
  const keepsNothing = (t: Test, node: CoreNode, what: string): void => {
    t.equal(node.store.lastMerge()?.height, 0, `${what}: no merge`);
    t.same(node.store.branches(10), [], `${what}: no block`);
    t.equal(node.core.main.ahead, null, `${what}: no state`);
  };
  for (let round = 0; round < ROUNDS; round += 1)
    for (const [i, { what, codes, twist, ahead = false }] of lies.entries()) {
      const name = `delta-${round}-${i}`;
      const node = await newcomer(name, ahead);
      liar.answer = async (want) => {
        const body = await truth.to(want);
        return body === null ? null : twist(body, want);
      };
      await liar.heads(headsOf(town.alpha, both));
      const found = (): string | undefined => codes.find((code) => node.refused()[code] !== undefined);
      await until(
        `${what} is refused as ${codes.join(' or ')}`,
        () => found() !== undefined,
        [node],
        120_000,
      );
      keepsNothing(t, node, what);
      t.comment(`${what}: ${JSON.stringify(node.refused())}`);
      await liar.leave();
      await node.stop();
      const late = join(folder.path, name, 'ahead.objects');
      t.ok(!existsSync(late) || statSync(late).size === 0, `${what}: nothing of a state`);
    }
  // The same folders, now with an honest host.
  for (const [name, ahead] of [
    ['delta-0-0', false],
    [`delta-0-${lies.length - 1}`, true],
  ] as const) {
    const node = await newcomer(name, ahead, town.url);
    await until('all of the history', () => agree([town.alpha, town.beta, node]), [town.alpha, node]);
    const notes = (of: CoreNode): readonly (string | undefined)[] =>
      Array.from({ length: BEHIND_MIN + 3 }, (_, n) => [of.note(`alpha-${n}`), of.note(`beta-${n}`)]).flat();
    t.same(notes(node), notes(town.alpha), 'the same content');
    t.notOk(notes(node).includes(undefined));
    t.equal(node.core.main.head.oid, town.alpha.core.main.head.oid, 'under one name');
    t.same([...node.alarms], []);
    await node.stop();
  }
});

t.test(
  'with its invitation alone a board comes to the content of the town, and proves it offline',
  async (t) => {
    const town = await TownOfNodes.prepare({ folder: t.testdir(), names: ['House', 'Workshop'] });
    t.teardown(() => town.close());
    const [house, workshop] = town.boards as [Board, Board];
    await town.found();
    for (let i = 0; i < 4; i += 1) {
      await house.post('Ada', '/api/people', { name: `Person ${i}` });
      await house.merge();
    }
    await town.join(workshop);
    await eventually('the whole history', () => town.isConverged(), {
      withinMs: 240_000,
      last: () => town.mains(),
    });
    const { height } = await house.status();
    t.ok(height >= 4);
    await eventually('written to git', async () => new Set(Object.values(await town.gitMains())).size === 1);
    const trees = await Promise.all(town.boards.map((board) => board.git('rev-parse', 'main^{tree}')));
    t.equal(trees[0], trees[1], 'the same state');
    await workshop.stop();
    await house.stop();
    const report = await verifyTown(workshop.folder, { packagesFolder, driver: 'process' });
    t.same(report.problems, []);
    t.equal(report.checked.merges, height + 1, 'every merge by its certificate and by a replay');
  },
);
