import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Compile } from 'typebox/schema';
import { parseManifest } from './manifest.js';
import { parseFromContract } from './messages.js';
import { readPackage } from './package.js';
import { schemaFiles } from './schema-files.js';
import { LineCutter } from './running-contract.js';
import { AttachedStream } from './attached-stream.js';

const root = new URL('../../../', import.meta.url);
const manifest = {
  name: 'tool-library',
  version: '1.2.3',
  summary: 'Lends tools.',
  protocol: 1,
  contract: { command: ['node', 'contract.mjs'] },
  verbs: {
    lend: { kind: 'claim', summary: 'Lends a tool.' },
    seen: { kind: 'fact', summary: 'A tool was seen.' },
  },
  collections: ['tools'],
  reads: ['kernel', 'membership'],
  queries: [],
  limits: { memoryMiB: 128, cpus: 0.5, pids: 32, callMs: 5000 },
};

t.test('a manifest is read strictly, and what is wrong is said where it is', async (t) => {
  t.same(parseManifest(manifest), manifest);
  const wrong: [object, RegExp][] = [
    [{ ...manifest, verison: '1' }, /verison/],
    [{ ...manifest, name: 'Tool Library' }, /name/],
    [{ ...manifest, name: undefined }, /name/],
    [{ ...manifest, version: '1.2' }, /version/],
    [{ ...manifest, protocol: 2 }, /protocol/],
    [{ ...manifest, contract: { command: [] } }, /contract\.command/],
    [{ ...manifest, verbs: { Lend: { kind: 'claim', summary: 'x' } } }, /verbs/],
    [{ ...manifest, verbs: { lend: { kind: 'wish', summary: 'x' } } }, /verbs\.lend\.kind/],
    [{ ...manifest, verbs: { lend: { kind: 'fact', restrictive: true, summary: 'x' } } }, /only a claim/],
    [{ ...manifest, reads: ['../secrets'] }, /reads/],
    [{ ...manifest, reads: ['tool-library'] }, /reads/],
    [{ ...manifest, limits: { ...manifest.limits, memoryMiB: 100_000 } }, /limits\.memoryMiB/],
    [{ ...manifest, limits: { ...manifest.limits, cpus: 0 } }, /limits\.cpus/],
    [[], /whole/],
  ];
  for (const [json, message] of wrong) t.throws(() => parseManifest(json), { name: 'TownError', message });
  for (const name of ['charter', 'member', 'credit', 'allowance', 'evidence', 'kernel'])
    t.throws(() => parseManifest({ ...manifest, name }), { code: 'kernel-name' });
});

t.test('a package is known by all its bytes; what is no plain file is refused', async (t) => {
  const folder = t.testdir({ 'dapp.json': JSON.stringify(manifest), lib: { 'a.mjs': 'a' } });
  const first = await readPackage(folder);
  t.match(first, { manifest: { name: 'tool-library' }, digest: /^[0-9a-f]{64}$/, folder });
  writeFileSync(join(folder, 'lib/a.mjs'), 'b');
  t.not((await readPackage(folder)).digest, first.digest);
  writeFileSync(join(folder, 'lib/a.mjs'), 'a');
  t.equal((await readPackage(folder)).digest, first.digest);
  symlinkSync('/etc/passwd', join(folder, 'lib/link'));
  await t.rejects(readPackage(folder), { code: 'bad-package', message: /lib\/link/ });
  const many = t.testdir({ 'dapp.json': '{' });
  await t.rejects(readPackage(many), { code: 'bad-manifest' });
  mkdirSync(join(many, 'many'));
  for (let i = 0; i < 600; i++) writeFileSync(join(many, 'many', `${i}`), '');
  await t.rejects(readPackage(many), { code: 'bad-package', message: /512 files/ });
  await t.rejects(readPackage('/nonexistent'), { code: 'no-package', advice: /npm run build/ });
});

t.test('the schemas for authors are the ones that the daemon checks with', async (t) => {
  for (const [name, schema] of schemaFiles())
    t.same(JSON.parse(readFileSync(new URL(`dapps/schemas/${name}`, root), 'utf8')), schema, name);
});

t.test('the examples in the README and the bundled manifests fit the schemas', async (t) => {
  const schemaOf = (name: string) =>
    Compile(JSON.parse(readFileSync(new URL(`dapps/schemas/${name}`, root), 'utf8')) as object);
  const [toContract, fromContract, dappJson] = [
    schemaOf('to-contract.json'),
    schemaOf('from-contract.json'),
    schemaOf('dapp.json'),
  ];
  const readme = readFileSync(new URL('dapps/README.md', root), 'utf8');
  const lines = [...readme.matchAll(/^(→|←) (\{.*\})$/gm)];
  t.ok(lines.length >= 8, 'there are examples');
  const seen = new Set<string>();
  for (const [, arrow, text] of lines) {
    const message = JSON.parse(text as string) as { t: string };
    seen.add(message.t);
    t.ok((arrow === '→' ? toContract : fromContract).Check(message), `${arrow} ${text}`);
    t.notOk(
      (arrow === '→' ? toContract : fromContract).Check({ ...message, unknown: 1 }),
      'and nothing more',
    );
    if (arrow === '←') t.type(parseFromContract(Buffer.from(text as string)), 'object');
  }
  for (const kind of [
    'apply',
    'test',
    'query',
    'get',
    'list',
    'value',
    'page',
    'accept',
    'reject',
    'pass',
    'result',
  ])
    t.ok(seen.has(kind), `${kind} has an example`);
  const example = /```json\n(\{[^`]*"protocol"[^`]*\})\n```/.exec(readme)?.[1] as string;
  for (const text of [
    example,
    ...['membership', 'door-access', 'gigs'].map((name) =>
      readFileSync(new URL(`dapps/${name}/dapp.json`, root), 'utf8'),
    ),
  ]) {
    t.ok(dappJson.Check(JSON.parse(text)));
    t.ok(parseManifest(JSON.parse(text)).name);
  }
});

t.test('lines are cut at line feeds alone, however the bytes come, and are bounded', async (t) => {
  const text = Buffer.from('{"a":"\u2028✓"}\n\nlast\nrest');
  for (const size of [1, 2, 3, 7, text.length]) {
    const lines: string[] = [];
    const cutter = new LineCutter(
      100,
      (line) => lines.push(line.toString()),
      () => lines.push('TOO LONG'),
    );
    for (let i = 0; i < text.length; i += size) cutter.push(text.subarray(i, i + size));
    t.same(lines, ['{"a":"\u2028✓"}', '', 'last']);
  }
  const told: string[] = [];
  const cutter = new LineCutter(
    5,
    (line) => told.push(line.toString()),
    () => told.push('TOO LONG'),
  );
  for (const part of ['12345\n', '123', '456', '\n', 'ok\n']) cutter.push(Buffer.from(part));
  t.same(told, ['12345', 'TOO LONG'], 'nothing after it');
});

t.test('the engine’s frames are taken apart wherever they are cut', async (t) => {
  const frame = (kind: number, text: string): Buffer => {
    const header = Buffer.alloc(8);
    header[0] = kind;
    header.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([header, Buffer.from(text)]);
  };
  const bytes = Buffer.concat([
    frame(1, 'one'),
    frame(2, 'error'),
    frame(1, ''),
    frame(1, 'two'),
    ...Array.from({ length: 20_000 }, () => frame(1, '.')),
  ]);
  for (const size of [1, 5, 8, 11, bytes.length]) {
    let [out, err] = ['', ''];
    const frames = new AttachedStream(
      (part) => (out += part.toString()),
      (part) => (err += part.toString()),
    );
    for (let i = 0; i < bytes.length; i += size) frames.push(bytes.subarray(i, i + size));
    t.same([out, err], [`onetwo${'.'.repeat(20_000)}`, 'error'], `parts of ${size}`);
  }
});
