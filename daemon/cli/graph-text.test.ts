/** The history drawn with characters. */
import t from 'tap';
import type { GraphBlock, LedgerGraph } from '../node/ledger-graph.js';
import { graphText } from './graph-text.js';

process.env['TZ'] = 'UTC';
const T0 = 1_700_000_000_000;
const id = (word: string): string => Buffer.from(word).toString('hex').padEnd(64, '0');

const block = (node: string, seq: number, height: number | null, at: number, base: string): GraphBlock => ({
  id: id(`${node}${seq}`),
  node,
  seq,
  prev: seq === 1 ? null : id(`${node}${seq - 1}`),
  base: id(base),
  at: T0 + at,
  entries: seq,
  height,
  own: node === 'hall',
});

const merge = (height: number, by: string, ...heads: string[]) => ({
  height,
  id: id(`h${height}`),
  oid: 'a'.repeat(40),
  time: T0 + height * 10_000,
  by,
  heads: heads.map(id),
});

/** The shed was cut off while hall and attic merged without it. */
const graph: LedgerGraph = {
  merges: [merge(2, 'shed', 'hall3', 'shed2'), merge(1, 'hall', 'attic1', 'hall1'), merge(0, 'hall')],
  blocks: [
    block('attic', 1, 1, 4_000, 'h0'),
    block('attic', 2, null, 26_000, 'h2'),
    block('hall', 1, 1, 3_000, 'h0'),
    block('hall', 2, 2, 12_000, 'h1'),
    block('hall', 3, 2, 14_000, 'h1'),
    block('shed', 1, 2, 5_000, 'h0'),
    block('shed', 2, 2, 13_000, 'h0'),
  ],
  nodes: [
    { id: 'hall', name: 'Hall' },
    { id: 'attic', name: 'Attic' },
    { id: 'shed', name: 'Shed' },
  ],
  truncated: false,
};

t.test('each node has a lane, and merges draw a line to the branches they fold in', async (t) => {
  t.same(
    graphText(graph, 80)
      .split('\n')
      .map((line) => line.slice(0, 9).trimEnd()),
    [
      '┌ main',
      '│ ┌ Hall',
      '│ │ ┌ Att',
      '│ │ │ ┌ S',
      '│   ○',
      '●─┬─│─┐',
      '│ ○ │ │',
      '│ │ │ ○',
      '│ ○ │ │',
      '│ │ │ ○',
      '●─┼─┤',
      '│ │ ○',
      '│ ○',
      '●',
    ],
  );
  t.match(graphText(graph, 80), /Attic 2: 2 entries, on height 2, waits/);
  t.match(graphText(graph, 80), /height 2 {2}[0-9a-f]{12} {2}2023-11-14 22:13:40 {2}by Shed/);
});

t.test('no line is wider than the terminal, and much is drawn as little', async (t) => {
  const long = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, name: node.name.repeat(30) })) };
  for (const line of graphText(long, 80).split('\n').slice(4)) t.ok(Array.from(line).length <= 80, line);
  const many = Array.from({ length: 40 }, (_, i) => block('hall', i + 1, null, i * 1000, 'h0'));
  const run = graphText({ ...graph, blocks: many, merges: [merge(0, 'hall')], truncated: true }, 80);
  t.match(run, /Hall 1–40: 820 entries, on height 0, waits/);
  t.equal(run.split('\n').length, 5);
  t.match(run, /left out/);
});

t.test('what others named their nodes does not steer the terminal', async (t) => {
  const named = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, name: `\u001b[2J${node.name}` })) };
  t.notOk(graphText(named, 80).includes('\u001b'));
});

t.test('a town of one merge, and one of more nodes than lanes', async (t) => {
  t.match(
    graphText({ merges: [merge(0, 'hall')], blocks: [], nodes: graph.nodes, truncated: false }, 80),
    /^┌ main\n● {2}height 0 .*the town is founded$/,
  );
  const names = Array.from({ length: 30 }, (_, i) => `n${i}`);
  const crowd = graphText(
    {
      merges: [merge(1, 'n0', ...names.map((name) => `${name}1`)), merge(0, 'n0')],
      blocks: names.map((name, i) => block(name, 1, 1, i, 'h0')),
      nodes: names.map((name) => ({ id: name, name })),
      truncated: false,
    },
    80,
  );
  for (const line of crowd.split('\n').slice(13)) t.ok(Array.from(line).length <= 80, line);
});
