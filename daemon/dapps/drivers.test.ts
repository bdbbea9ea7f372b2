import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ContractDriver } from './driver.js';
import { ContainerDriver } from './container-driver.js';
import { CONTRACT_ERROR } from './contract-session.js';
import { chooseDriver } from './choose-driver.js';
import { findEngine, type Engine } from './engine.js';
import { readPackage, type DappPackage } from './package.js';
import { ProcessDriver } from './process-driver.js';
import type { FromContract, ToContract } from './protocol.js';

// Containers on a busy board take their time.
t.setTimeout(600_000);
const engine = await findEngine().catch(() => null);
const noEngine =
  engine || process.env['CI'] === 'true'
    ? false
    : 'no container engine answers; the container driver is not tested';
const town = `${process.pid}`.padStart(64, '0');

/** A contract that does what the verb says, without an SDK: any language can do this. */
const PROGRAM = `
import { spawn } from 'node:child_process';
import { writeFileSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
const say = (m) => process.stdout.write((typeof m === 'string' ? m : JSON.stringify(m)) + '\\n');
const accept = (id, more = {}) => say({ t: 'accept', id, writes: [], postings: [], notices: [], ...more });
const attempt = (f) => { try { f(); return 'done'; } catch (e) { return e.code ?? String(e); } };
let rest = '', count = 0, waiting = null;
const verbs = {
  good: ({ id }) => accept(id, { writes: [{ collection: 'seen', key: 'k', value: { n: 1 } }] }),
  reads: ({ id }) => { say({ t: 'get', id, collection: 'seen', key: 'a' }); waiting = (m) => accept(id, { writes: [{ collection: 'seen', key: 'a', value: m.value }] }); },
  fickle: ({ id }) => { say({ t: 'get', id, collection: 'seen', key: 'k' + process.pid + Date.now() }); waiting = () => accept(id); },
  silent: () => {},
  endless: () => { const x = 'x'.repeat(65536); const more = () => { while (process.stdout.write(x)); process.stdout.once('drain', more); }; more(); },
  babble: ({ id }) => { accept(id); const more = () => { for (let i = 0; i < 500; i++) say('babble'); process.stdout.once('drain', more); }; setTimeout(more, 50); },
  shout: () => { const x = 'x'.repeat(65536); const more = () => { while (process.stderr.write(x)); process.stderr.once('drain', more); }; more(); },
  rubbish: () => say('Hello, world!'),
  binary: () => process.stdout.write(Buffer.from([0x7b, 0xff, 0xfe, 0x7d, 0x0a])),
  list: () => say([1]),
  odd: ({ id }) => accept(id, { mint: 1000 }),
  otherid: ({ id }) => accept(id + 1),
  wrongkind: ({ id }) => say({ t: 'pass', id }),
  fraction: ({ id }) => accept(id, { writes: [{ collection: 'seen', key: 'k', value: 0.5 }] }),
  huge: ({ id }) => accept(id, { writes: [{ collection: 'seen', key: 'k', value: 'x'.repeat(17000) }] }),
  escape: ({ id }) => accept(id, { writes: [{ collection: 'seen', key: '../../charter', value: 1 }] }),
  mint: ({ id }) => accept(id, { postings: [{ op: 'transfer', from: 'vault', to: 'vault', amount: -5 }] }),
  deep: ({ id }) => say('{"t":"accept","id":' + id + ',"postings":[],"notices":[],"writes":[{"collection":"seen","key":"k","value":' + '['.repeat(30000) + ']'.repeat(30000) + '}]}'),
  fails: ({ id }) => say({ t: 'error', id, message: 'TypeError at line ' + process.pid }),
  dies: () => process.exit(7),
  greedy: () => { const held = []; for (;;) held.push(Buffer.alloc(8 << 20, 1)); },
  forks: ({ id }) => {
    let ok = 0, failed = 0;
    const next = (i) => {
      if (i === 200) return say({ t: 'reject', id, code: 'forked', reason: String(failed > 0) });
      const c = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      c.once('spawn', () => { ok++; next(i + 1); });
      c.once('error', () => { failed++; next(200); });
    };
    next(0);
  },
  look: ({ id }) => {
    const status = readFileSync('/proc/self/status', 'utf8');
    const field = (name) => new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(status)?.[1];
    const socket = connect({ host: '192.0.2.1', port: 80, timeout: 1000 });
    const tell = (network) => say({ t: 'reject', id, code: 'seen', reason: JSON.stringify({
      network, interfaces: Object.keys(networkInterfaces()), uid: process.getuid(), gid: process.getgid(), caps: field('CapEff'), noNewPrivs: field('NoNewPrivs'),
      root: attempt(() => writeFileSync('/x', 'x')), tmp: attempt(() => writeFileSync('/tmp/x', 'x')), own: attempt(() => writeFileSync('/dapp/contract.mjs', 'x')),
      lang: process.env.LANG, tz: process.env.TZ }) });
    socket.once('connect', () => tell('connected')); socket.once('error', (e) => tell(e.code)); socket.once('timeout', () => tell('timeout'));
  },
};
process.stdin.on('data', (chunk) => {
  const lines = (rest + chunk).split('\\n'); rest = lines.pop();
  for (const line of lines) {
    const m = JSON.parse(line);
    if (m.t === 'apply') verbs[m.entry.type.split('.')[1]](m); else { const w = waiting; waiting = null; w(m); }
  }
});
process.stdin.on('end', () => process.exit(0));
`;
const DOCKERFILE = 'ARG BASE\nFROM ${BASE}\nCOPY . /dapp\nWORKDIR /dapp\nUSER 65534:65534\n';
const VERBS = [...PROGRAM.matchAll(/^ {2}(\w+): \(/gm)].map(([, verb]) => verb as string);

async function hostile(t: Test, name = 'hostile', more: object = {}): Promise<DappPackage> {
  const folder = mkdtempSync(join(tmpdir(), `mergetown-${name}-`));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const manifest = {
    name,
    version: '1.0.0',
    summary: 'Does what it should not.',
    protocol: 1,
    contract: { command: ['node', 'contract.mjs'] },
    verbs: Object.fromEntries(VERBS.map((verb) => [verb, { kind: 'claim', summary: verb }])),
    collections: ['seen'],
    reads: [],
    queries: [],
    limits: { memoryMiB: 96, cpus: 1, pids: 24, callMs: 1500 },
    ...more,
  };
  writeFileSync(join(folder, 'dapp.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'contract.mjs'), PROGRAM);
  writeFileSync(join(folder, 'Dockerfile'), DOCKERFILE);
  return readPackage(folder);
}

let calls = 0;
const call = (verb: string, dapp = 'hostile'): ToContract => ({
  t: 'apply',
  id: ++calls,
  entry: {
    id: 'e'.repeat(64),
    type: `${dapp}.${verb}`,
    node: '0'.repeat(16),
    n: 1,
    at: 1,
    author: { member: null, roles: [], key: 'a'.repeat(64) },
    body: {},
  },
  ctx: { town, height: 1, time: 1, tau: 1, parameters: {} },
});

const containersOf = async (dapp: string): Promise<string[]> => {
  const filters = JSON.stringify({ label: [`org.mergetown.town=${town}`, `org.mergetown.dapp=${dapp}`] });
  const found = await (engine as Engine).listContainers({ all: true, filters });
  return found.map(({ Id, State }) => `${Id} ${State}`);
};

/** Command lines of the processes of this machine. */
const commandLines = (): string[] =>
  readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });

/** Contracts that run in this folder as processes. */
const contractsIn = (folder: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^[0-9]+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === folder;
    } catch {
      return false;
    }
  });

const kinds: { kind: string; skip: string | false; make: (log: string[]) => ContractDriver }[] = [
  {
    kind: 'process',
    skip: false,
    make: (log) =>
      new ProcessDriver({
        town,
        node: 'process'.padEnd(16, '0'),
        log: ({ text }) => log.push(text),
        startMs: 10_000,
      }),
  },
  {
    kind: 'container',
    skip: noEngine,
    make: (log) =>
      new ContainerDriver(
        { town, node: 'container'.padEnd(16, '0'), log: ({ text }) => log.push(text), startMs: 10_000 },
        engine as Engine,
      ),
  },
];

for (const { kind, skip, make } of kinds) {
  t.test(
    `${kind}: whatever a contract does, its call ends with a verdict or a named error`,
    { skip },
    async (t) => {
      const log: string[] = [];
      const driver = make(log);
      t.teardown(() => driver.stop());
      await driver.start([await hostile(t)]);
      const good = async (after: string) =>
        t.match(
          await driver.exchange('hostile', call('good')),
          { t: 'accept', writes: [{ key: 'k' }] },
          `works after: ${after}`,
        );
      await good('start');

      await t.test(
        'breaking the protocol is a defect: the same fixed answer everywhere, details in the log',
        async (t) => {
          for (const verb of [
            'endless',
            'rubbish',
            'binary',
            'list',
            'odd',
            'otherid',
            'wrongkind',
            'fraction',
            'huge',
            'escape',
            'mint',
            'deep',
            'fails',
          ]) {
            log.length = 0;
            const message = call(verb);
            t.same(
              await driver.exchange('hostile', message),
              { t: 'error', id: message.id, message: CONTRACT_ERROR },
              verb,
            );
            t.equal(log.length, 1, `the log says why: ${log[0]}`);
            await good(verb);
          }
        },
      );

      await t.test('silence, dying and running out of memory are errors with names', async (t) => {
        for (const [verb, code] of [
          ['silent', 'contract-timeout'],
          ['dies', 'contract-crashed'],
          ['greedy', kind === 'container' ? 'contract-crashed' : ''],
          ['shout', 'contract-crashed'],
        ] as const) {
          // Without a container nothing bounds what a process takes outside of its heap.
          if (code === '') continue;
          await t.rejects(driver.exchange('hostile', call(verb)), { name: 'TownError', code }, verb);
          await good(verb);
        }
      });

      await t.test('lines that nobody asked for do not become answers', async (t) => {
        t.match(await driver.exchange('hostile', call('babble')), { t: 'accept' });
        await new Promise((resolve) => setTimeout(resolve, 300));
        await good('babble');
      });

      await t.test(
        'it is killed in a call: the call is replayed on a new one and nobody sees it',
        async (t) => {
          const { restarts } = driver.status()[0] as { restarts: number };
          const message = call('reads');
          t.same(await driver.exchange('hostile', message), {
            t: 'get',
            id: message.id,
            collection: 'seen',
            key: 'a',
          });
          await driver.restart('hostile');
          const answer = driver.exchange('hostile', { t: 'value', id: message.id, value: { n: 5 } });
          await driver.restart('hostile');
          t.match(await answer, { t: 'accept', writes: [{ key: 'a', value: { n: 5 } }] });
          t.ok((driver.status()[0] as { restarts: number }).restarts >= restarts);
        },
      );

      await t.test('replayed, it asks something else: it is not deterministic', async (t) => {
        const message = call('fickle');
        t.match(await driver.exchange('hostile', message), { t: 'get' });
        await driver.restart('hostile');
        await t.rejects(driver.exchange('hostile', { t: 'value', id: message.id, value: null }), {
          code: 'contract-nondeterministic',
        });
        await good('fickle');
      });

      await t.test('calls wait for their turn, and at most 64 of them', async (t) => {
        const all: Promise<FromContract>[] = [];
        const first = call('reads');
        t.match(await driver.exchange('hostile', first), { t: 'get' });
        for (let i = 0; i < 64; i++) all.push(driver.exchange('hostile', call('good')));
        await t.rejects(driver.exchange('hostile', call('good')), { code: 'contract-busy' });
        t.match(await driver.exchange('hostile', { t: 'value', id: first.id, value: 1 }), { t: 'accept' });
        t.ok((await Promise.all(all)).every(({ t }) => t === 'accept'));
        await t.rejects(driver.exchange('hostile', { t: 'value', id: first.id, value: 1 }), {
          code: 'contract-call-given-up',
        });
        await t.rejects(driver.exchange('nobody', call('good')), { code: 'dapp-not-running' });
      });

      await t.test('its forks end with it', async (t) => {
        const said = await driver
          .exchange('hostile', call('forks'))
          .catch((error: { code: string }) => error);
        t.comment(JSON.stringify(said));
        await driver.restart('hostile');
        await good('forks');
        if (kind === 'container')
          t.not((said as { reason?: string }).reason, 'false', 'not all 200 were started');
      });

      await t.test('stopped, nothing of it is left', async (t) => {
        const last = driver.exchange('hostile', call('silent'));
        await Promise.all([t.rejects(last, { code: 'contract-stopped' }), driver.stop()]);
        await t.rejects(driver.exchange('hostile', call('good')), { code: 'dapp-not-running' });
        t.notOk(commandLines().some((line) => line.includes('setInterval(() => {}, 1000)')));
      });
    },
  );
}

t.test(
  'a container has no network, no writable root, no capabilities, no root user',
  { skip: noEngine },
  async (t) => {
    const driver = (kinds[1] as (typeof kinds)[1]).make([]);
    t.teardown(() => driver.stop());
    await driver.start([await hostile(t)]);
    const said = (await driver.exchange('hostile', call('look'))) as { reason: string };
    t.match(JSON.parse(said.reason), {
      interfaces: [/^lo$/],
      network: 'ENETUNREACH',
      uid: 65534,
      gid: 65534,
      caps: '0000000000000000',
      noNewPrivs: '1',
      root: 'EROFS',
      tmp: 'EROFS',
      own: 'EROFS',
      lang: 'C',
      tz: 'UTC',
    });
  },
);

t.test(
  'what a killed daemon left is removed at the next start; other nodes’ contracts stay',
  { skip: noEngine },
  async (t) => {
    const make = (node: string) =>
      new ContainerDriver({ town, node: node.padEnd(16, '0'), log: () => undefined }, engine as Engine);
    const dapp = await hostile(t, 'leftover');
    const [killed, other] = [make('aa'), make('bb')];
    await killed.start([dapp]);
    await other.start([dapp]);
    t.equal((await containersOf('leftover')).length, 2);
    // As if `killed` had died: its containers are there, nobody stopped them.
    const next = make('aa');
    await next.start([dapp]);
    t.equal((await containersOf('leftover')).length, 2);
    t.match(await other.exchange('leftover', call('good', 'leftover')), { t: 'accept' });
    await Promise.all([next.stop(), other.stop(), killed.stop()]);
    t.same(await containersOf('leftover'), []);
  },
);

for (const prefer of ['process', 'container'] as const) {
  const skip = prefer === 'container' ? noEngine : false;
  t.test(`${prefer}: contracts end with a daemon that is killed`, { skip }, async (t) => {
    const dapp = await hostile(t, `orphan-${prefer}`);
    const script = `
      import { chooseDriver } from ${JSON.stringify(new URL('choose-driver.js', import.meta.url).href)};
      import { readPackage } from ${JSON.stringify(new URL('package.js', import.meta.url).href)};
      const { driver } = await chooseDriver({ prefer: '${prefer}', town: '${town}', node: 'orphan'.padEnd(16, '0'), log: () => {} });
      await driver.start([await readPackage(${JSON.stringify(dapp.folder)})]);
      const [{ diagnostics }] = driver.status();
      console.log('started');
      setInterval(() => diagnostics, 1000);`;
    const daemon = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => daemon.stdout.once('data', resolve));
    const alive = async (): Promise<boolean> =>
      prefer === 'container'
        ? (await containersOf('orphan-container')).some((line) => line.endsWith(' running'))
        : contractsIn(dapp.folder).length > 0;
    t.ok(await alive());
    daemon.kill('SIGKILL');
    for (let i = 0; i < 100 && (await alive()); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    t.notOk(await alive());
    if (prefer === 'process') return;
    const next = new ContainerDriver(
      { town, node: 'orphan'.padEnd(16, '0'), log: () => undefined },
      engine as Engine,
    );
    await next.start([]);
    t.same(await containersOf('orphan-container'), [], 'and its container is removed at the next start');
    await next.stop();
  });
}

t.test('an image that somebody removed is made again', { skip: noEngine }, async (t) => {
  const driver = (kinds[1] as (typeof kinds)[1]).make([]);
  t.teardown(() => driver.stop());
  await driver.start([await hostile(t, 'cleaned')]);
  await driver.restart('cleaned');
  const filters = JSON.stringify({ label: ['org.mergetown.dapp=cleaned'] });
  for (const { Id } of await (engine as Engine).listImages({ filters }))
    await (engine as Engine).getImage(Id).remove({ force: true });
  t.match(await driver.exchange('cleaned', call('good', 'cleaned')), { t: 'accept' });
});

t.test('starting again replaces what changed and stops what is gone', async (t) => {
  const driver = (kinds[0] as (typeof kinds)[0]).make([]);
  t.teardown(() => driver.stop());
  const [one, two] = [await hostile(t, 'one'), await hostile(t, 'two')];
  await driver.start([one, two]);
  writeFileSync(join(one.folder, 'more.txt'), 'x');
  const changed = await readPackage(one.folder);
  t.not(changed.digest, one.digest);
  await driver.start([changed]);
  t.match(driver.status(), [{ dapp: 'one', digest: changed.digest, running: true }]);
  t.match(await driver.exchange('one', call('good', 'one')), { t: 'accept' });
  const broken = await hostile(t, 'broken', { contract: { command: ['no-such-program'] } });
  await t.rejects(driver.start([broken]), { code: 'contract-not-started', message: /broken/ });
  const late = driver.start([two]);
  await driver.stop();
  await t.rejects(late, { code: 'driver-stopped' });
  t.same(driver.status(), []);
  t.same(contractsIn(two.folder), []);
});

t.test('a driver is chosen by what answers, and a missing isolation is said plainly', async (t) => {
  const options = { town, node: '0'.repeat(16), log: () => undefined };
  const asked = await chooseDriver({ ...options, prefer: 'process' });
  t.match(asked, { driver: { kind: 'process', isolated: false }, warning: /not isolated/ });
  const host = process.env['DOCKER_HOST'];
  process.env['DOCKER_HOST'] = 'unix:///nonexistent/docker.sock';
  try {
    t.match(await chooseDriver(options), { driver: { kind: 'process' }, warning: /No container engine/ });
    await t.rejects(chooseDriver({ ...options, prefer: 'container' }), { code: 'no-engine' });
  } finally {
    if (host === undefined) delete process.env['DOCKER_HOST'];
    else process.env['DOCKER_HOST'] = host;
  }
  if (engine)
    t.match(await chooseDriver(options), { driver: { kind: 'container', isolated: true }, warning: null });
});

t.test('nothing of all this is left in the engine', { skip: noEngine }, async (t) => {
  const mine = { filters: JSON.stringify({ label: [`org.mergetown.town=${town}`] }) };
  t.same(await engine?.listContainers({ all: true, ...mine }), []);
  for (const { Id } of (await engine?.listImages(mine)) ?? [])
    await engine?.getImage(Id).remove({ force: true });
  t.same(await engine?.listImages(mine), []);
});
