/** What of the panel can be judged without a browser. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { path } from './api.js';
import { pauseBefore } from './event-stream.js';
import { ago, counted, credits, plainWord, secondsLeft, shortId } from './format.js';
import { pictureOf, type GraphPicture } from './graph-layout.js';
import { polygonPoints, pointsOf, seeded, sketchLine, smooth } from './map/sketch.js';
import {
  connectedWords,
  nextMergeWords,
  distanceWords,
  idInGroups,
  mayInsist,
  quorumIsThere,
  quorumNow,
  quorumRule,
} from './node-words.js';
import { passphraseLengthMin, strengthOf } from './passphrase-strength.js';
import { hrefOf, routeOf } from './router.js';
import { sseParser, type SseMessage } from './sse-parser.js';
import { doorReason, doorWho } from './words.js';
import type { DoorEvent, GraphBlock, GraphMerge, LedgerGraph } from './shapes.js';

const at = (address: string) => {
  const { pathname, hash } = new URL(address, 'http://town.example');
  return routeOf({ pathname, hash });
};

t.test('an address leads to its page', async (t) => {
  t.same(at('/'), { page: 'home' });
  t.same(at('/#/'), { page: 'home' });
  t.same(at('/#/doors'), { page: 'doors' });
  t.same(at('/#/ledger/branches'), { page: 'ledger', tab: 'branches' });
  t.same(at('/#/merge/abc123'), { page: 'merge', id: 'abc123' });
  t.same(at('/#/ledger/graph'), { page: 'ledger', tab: 'graph' });
  t.same(at('/bank'), { page: 'bank' }, 'an address typed without the #');
  t.same(at('/#/nowhere'), { page: 'unknown' });
  t.same(at('/#/doors/7'), { page: 'unknown' });
  t.same(at('/#/entry/%E0%A4%A'), { page: 'entry', id: '%E0%A4%A' }, 'broken escapes break nothing');
});

t.test(
  'links that are handed out carry their secret behind the #, where no server log sees it',
  async (t) => {
    t.same(at('/setup#s3cret-token_'), { page: 'setup', token: 's3cret-token_' });
    t.same(at('/setup/'), { page: 'setup', token: '' });
    t.same(at('/join#code'), { page: 'join', code: 'code' });
    t.same(at('/setup#/doors'), { page: 'doors' }, 'from there on to an ordinary page');
  },
);

t.test('the address of every page leads back to it', async (t) => {
  const id = fc.string({ minLength: 1, maxLength: 70 }).filter((text) => text.trim() !== '');
  const route = fc.oneof(
    fc
      .constantFrom('home', 'people', 'doors', 'gigs', 'bank', 'nodes', 'town-hall', 'you', 'first-here')
      .map((page) => ({ page }) as const),
    fc
      .constantFrom('merges', 'graph', 'entries', 'branches')
      .map((tab) => ({ page: 'ledger', tab }) as const),
    fc.tuple(fc.constantFrom('merge', 'entry'), id).map(([page, id]) => ({ page, id }) as const),
  );
  fc.assert(
    fc.property(route, (route) => {
      t.same(at(hrefOf(route as Parameters<typeof hrefOf>[0])), route);
    }),
  );
});

t.test('ids are escaped on their way into a path', async (t) => {
  t.equal(path`/gigs/${'a/b?c'}/take`, '/gigs/a%2Fb%3Fc/take');
  t.equal(path`/people`, '/people');
});

t.test('times, counts and ids are written for people', async (t) => {
  const now = Date.UTC(2026, 0, 31, 12);
  t.equal(ago(now, now), 'just now');
  t.equal(ago(now - 59_999, now), '59 seconds ago');
  t.equal(ago(now - 60_000, now), '1 minute ago');
  t.equal(ago(now - 3 * 3_600_000, now), '3 hours ago');
  t.equal(ago(now - 6 * 86_400_000, now), '6 days ago');
  t.match(ago(now - 8 * 86_400_000, now), /23 Jan 2026/);
  t.equal(credits(1), '1 credit');
  t.equal(credits(1200), '1,200 credits');
  t.equal(counted(0, 'person', 'people'), '0 people');
  t.equal(counted(1, 'person', 'people'), '1 person');
  t.equal(secondsLeft(10_000, 9_001), 1);
  t.equal(secondsLeft(10_000, 20_000), 0);
  t.equal(shortId('p0123456789abcdef'), 'p012345678…');
  t.equal(shortId('front-door'), 'front-door');
  t.equal(plainWord('door-access.add-door'), 'add door');
});

t.test('a refusal at a door is told with its reason', async (t) => {
  const event: DoorEvent = {
    id: 'x-1',
    at: 1,
    door: 'front',
    kind: 'tap',
    outcome: 'refused',
    code: 'badge-revoked',
    reason: 'lost on the tram',
    table: 1,
    personName: 'Ada',
    entry: null,
  };
  t.equal(doorReason(event), 'this badge was revoked: lost on the tram');
  t.equal(doorWho(event), 'Ada');
  t.equal(
    doorReason({ code: 'unknown-badge', reason: 'The town does not know this badge.' }),
    'nobody in this town has this badge',
    'the gate’s own words for a code are not said twice',
  );
  t.equal(doorReason({ code: 'some-new-code' }), 'some new code', 'an unknown code is still words');
  t.equal(doorWho({ ...event, personName: null, code: 'unknown-badge' }), 'Unknown badge');
  t.equal(doorWho({ ...event, personName: null, person: 'p1' }), 'A person this board may not name');
});

t.test('what waits, and for whom, is said in a sentence', async (t) => {
  const validators = { count: 3, quorum: 2, mayBeOff: 1, heard: 2 };
  const next = {
    ...({ state: 'open', epoch: 0, round: 0, parkedSince: null } as const),
    ...{ connected: ['attic', 'shed', 'roof'], away: ['cellar', 'yard'] },
  };
  t.equal(nextMergeWords({ next, validators, pendingEntries: 3 }), '3 entries pending; merging now.');
  const alone = { ...validators, heard: 1 };
  t.match(
    nextMergeWords({ next: { ...next, state: 'parked' }, validators: alone, pendingEntries: 1 }),
    /^1 entry pending\. The merge is parked: .* when cellar or yard is heard again\.$/,
  );
  t.equal(
    nextMergeWords({ next: { ...next, state: 'nothing' }, validators, pendingEntries: 0 }),
    'Nothing pending.',
  );
  t.equal(connectedWords({ next, peers: { count: 4, connected: 3 } }), 'Connected: attic, shed and roof.');
});

t.test('whether the town can merge is said in a sentence', async (t) => {
  const one = { count: 1, quorum: 1, mayBeOff: 0, heard: 1 };
  t.equal(
    quorumRule(one),
    'One validator: it alone signs each merge. It may not be off: without it nothing merges.',
  );
  t.equal(quorumNow(one), 'It is here.');
  const three = { count: 3, quorum: 2, mayBeOff: 1, heard: 3 };
  t.equal(quorumRule(three), '3 validators, 2 of them must sign a merge. 1 may be off.');
  t.equal(quorumNow(three), 'All 3 are heard just now: enough to merge.');
  t.equal(quorumNow({ ...three, heard: 2 }), '2 of 3 heard just now: enough to merge.');
  t.match(
    quorumNow({ ...three, heard: 1 }),
    /^1 of 3 heard just now: 1 too few\. Nothing merges here until one more is heard again\./,
  );
  t.match(
    quorumNow({ count: 5, quorum: 3, mayBeOff: 2, heard: 1 }),
    /2 too few\. Nothing merges here until more are heard again/,
  );
  t.match(quorumNow({ ...one, heard: 0 }), /^0 of 1 heard just now: 1 too few/);
  fc.assert(
    fc.property(fc.nat(9), fc.nat(9), fc.nat(9), (a, b, c) => {
      const [heard = 0, quorum = 0, count = 0] = [a, b, c].sort((x, y) => x - y).map((each) => each + 1);
      for (const v of [
        { heard, quorum, count },
        { heard: count, quorum, count },
      ])
        t.equal(
          /too few/.test(quorumNow({ ...v, mayBeOff: count - quorum })),
          !quorumIsThere({ ...v, mayBeOff: 0 }),
        );
    }),
  );
});

t.test('how far another board is, is told from this one', async (t) => {
  const none = { blocks: 0, merges: 0 };
  const node = { connected: true, height: 4, ahead: none, behind: none };
  t.equal(distanceWords(node), 'has exactly what this board has');
  t.equal(distanceWords({ ...node, height: null }), 'not known yet');
  t.match(distanceWords({ ...node, connected: false }), /^when last heard: has exactly/);
  t.equal(
    distanceWords({ ...node, ahead: { blocks: 2, merges: 1 } }),
    'ahead of this board by 1 merge and 2 blocks',
  );
  t.equal(distanceWords({ ...node, behind: { blocks: 1, merges: 0 } }), 'behind this board by 1 block');
  t.equal(
    distanceWords({ ...node, ahead: { blocks: 1, merges: 0 }, behind: { blocks: 0, merges: 3 } }),
    'ahead by 1 block, behind by 3 merges',
  );
  t.equal(idInGroups('a1b2c3d4e5f60718'), 'a1b2 c3d4 e5f6 0718');
  t.ok(mayInsist('node-not-heard'));
  t.notOk(mayInsist('last-validator'), 'what cannot work is not offered');
});

t.test('the graph of the ledger stands on what is below it', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(2), fc.nat(5)), { maxLength: 40 }), (steps) => {
      const graph = historyOf(steps);
      const picture = pictureOf(graph);
      const shown = picture.rows.flatMap((row) =>
        row.kind === 'merge' ? [row.merge.id] : row.blocks.map(({ id }) => id),
      );
      t.same(
        [...shown].sort(),
        [...graph.merges, ...graph.blocks].map(({ id }) => id).sort(),
        'everything once',
      );
      t.ok(picture.lines.every(({ from, to }) => from.row > to.row));
      t.same(new Set(picture.lines.map(keyOf)).size, picture.lines.length, 'no line twice');
      const heads = graph.merges.reduce((sum, each) => sum + each.heads.length, 0);
      t.equal(
        picture.lines.filter(({ kind }) => kind === 'fold').length,
        heads,
        'each branch runs into its merge',
      );
      t.ok(picture.rows.every((row) => row.kind === 'merge' || row.lane >= 1));
    }),
  );
  t.same(pictureOf({ merges: [], blocks: [], nodes: [], truncated: false }), {
    rows: [],
    lines: [],
    lanes: [],
  });
});

const keyOf = ({ kind, from, to }: GraphPicture['lines'][number]): string =>
  [kind, from.lane, from.row, to.lane, to.row].join();

/** A history of three boards: who acts, what (0, 1: a block; 2: a merge of all), and how many merges late it is. */
function historyOf(steps: readonly (readonly [number, number, number])[]): LedgerGraph {
  const merges: GraphMerge[] = [{ height: 0, id: 'm0', oid: 'o', time: 0, by: 'n0', heads: [] }];
  const blocks: { -readonly [K in keyof GraphBlock]: GraphBlock[K] }[] = [];
  for (const [at, [who, what, late]] of steps.entries()) {
    const node = `n${who}`;
    const before = blocks.filter((each) => each.node === node).at(-1);
    if (what < 2) {
      const known = Number(before?.base.slice(1) ?? 0);
      const base = `m${Math.max(known, merges.length - 1 - late)}`;
      blocks.push({
        id: `b${at}`,
        node,
        seq: (before?.seq ?? 0) + 1,
        prev: before?.id ?? null,
        base,
        at,
        entries: 1,
        height: null,
        own: who === 0,
      });
      continue;
    }
    const open = blocks.filter(({ height }) => height === null);
    if (open.length === 0) continue;
    const heads = [...new Map(open.map((each) => [each.node, each.id])).values()];
    for (const each of open) each.height = merges.length;
    merges.push({ height: merges.length, id: `m${merges.length}`, oid: 'o', time: at, by: node, heads });
  }
  const nodes = [0, 1, 2, 3].map((each) => ({ id: `n${each}`, name: `Board ${each}` }));
  return { merges: merges.reverse(), blocks, nodes, truncated: false };
}

t.test('a passphrase is judged honestly', async (t) => {
  t.equal(strengthOf('').level, 0);
  t.match(strengthOf('123456789').hint, /1 more character\./);
  t.equal(strengthOf('aaaaaaaaaaaa').level, 1, 'long, but one letter');
  t.equal(strengthOf('password123456').level, 1);
  t.equal(strengthOf('stella stella', ['Stella']).level, 1, 'one’s own name');
  t.ok(strengthOf('gravel lantern orbit mustard').level >= 3);
  t.equal(strengthOf('gravel lantern orbit mustard quilt velvet').level, 4);
  fc.assert(
    fc.property(
      fc.string({ maxLength: 64 }),
      fc.array(fc.string({ maxLength: 12 }), { maxLength: 3 }),
      (text, names) => {
        const { level } = strengthOf(text, names);
        return [...text].length >= passphraseLengthMin === level > 0;
      },
    ),
  );
});

t.test('the event stream is read the same however it is cut', async (t) => {
  const stream =
    'retry: 2000\n\nevent: door\ndata: {"a":1}\n\n: heartbeat\n\nevent: entry\r\ndata: line one\r\ndata: line two\r\n\r\ndata: plain\r\r';
  const whole: readonly SseMessage[] = [
    { event: 'door', data: '{"a":1}' },
    { event: 'entry', data: 'line one\nline two' },
    { event: 'message', data: 'plain' },
  ];
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length), { maxLength: 12 }), (cuts) => {
      const parse = sseParser();
      const ends = [...cuts.sort((a, b) => a - b), stream.length];
      const read = ends.flatMap((end, index) => parse(stream.slice(ends[index - 1] ?? 0, end)));
      // The very last \r may yet turn out to be the first half of \r\n.
      t.same([...read, ...parse('\n')], whole);
    }),
  );
  t.throws(
    () => sseParser()('x'.repeat(5 * 1024 * 1024)),
    RangeError,
    'a message without an end is not collected',
  );
});

t.test('a lost connection is tried again with longer and longer pauses, half a minute at most', async (t) => {
  t.same(
    [0, 1, 2, 3, 4, 5, 6, 60].map(pauseBefore),
    [1, 2, 4, 8, 16, 30, 30, 30].map((s) => s * 1000),
  );
});

t.test('the town is drawn by hand, and the same each time', async (t) => {
  const corners = pointsOf('0,0 100,0 100.5,-20');
  t.same(corners, [
    [0, 0],
    [100, 0],
    [100.5, -20],
  ]);
  t.equal(polygonPoints(corners), '0,0 100,0 100.5,-20');
  t.equal(sketchLine(corners, true, 7), sketchLine(corners, true, 7));
  t.not(sketchLine(corners, true, 7), sketchLine(corners, true, 8));
  t.notMatch(sketchLine(corners, false, 7) + smooth(corners, true), /NaN|undefined/);
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seeded(seed);
      return [random(), random(), random()].every((value) => value >= 0 && value < 1);
    }),
  );
});

t.test('text stands out from its ground by 4.5:1 and controls by 3:1, by day and by night', async (t) => {
  const css = readFileSync(new URL('../../../../daemon/panel/styles/colours.css', import.meta.url), 'utf8');
  const [day = '', night = ''] = css.split('@media');
  const coloursOf = (text: string) =>
    new Map([...text.matchAll(/--([a-z-]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name!, value!]));
  const light = coloursOf(day);
  const texts: readonly (readonly [string, string])[] = [
    ...['paper', 'card', 'sunk'].flatMap((ground) =>
      ['ink', 'quiet', 'link', 'good', 'bad'].map((ink) => [ink, ground] as const),
    ),
    ...['good', 'bad', 'wait'].flatMap(
      (tone) =>
        [
          [tone, `${tone}-paper`],
          ['ink', `${tone}-paper`],
        ] as const,
    ),
    ['on-accent', 'accent'],
    ['card', 'bad'],
  ];
  const controls = ['paper', 'card', 'sunk'].flatMap((ground) =>
    ['control', 'focus', 'ink', ...'abcdef']
      .map((edge) => (edge.length === 1 ? `lane-${edge}` : edge))
      .map((edge) => [edge, ground] as const),
  );
  for (const [name, colours] of [
    ['day', light],
    ['night', new Map([...light, ...coloursOf(night)])],
  ] as const) {
    for (const [least, pairs] of [
      [4.5, texts],
      [3, controls],
    ] as const) {
      for (const [front, ground] of pairs) {
        const ratio = contrast(colours.get(front)!, colours.get(ground)!);
        t.ok(ratio >= least, `${name}: ${front} on ${ground} is ${ratio.toFixed(2)}, at least ${least}`);
      }
    }
  }
});

/** WCAG 2.2, "contrast ratio". */
function contrast(one: string, other: string): number {
  const luminance = (colour: string) => {
    const [r = 0, g = 0, b = 0] = [1, 3, 5]
      .map((from) => parseInt(colour.slice(from, from + 2), 16) / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [lighter = 0, darker = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (lighter + 0.05) / (darker + 0.05);
}
