/** The bundled dapps as they ship: built, and run through every driver with the same corpus of entries. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ContainerDriver } from '../daemon/dapps/container-driver.js';
import type { ContractDriver } from '../daemon/dapps/driver.js';
import { findEngine, type Engine } from '../daemon/dapps/engine.js';
import { readPackage, type DappPackage } from '../daemon/dapps/package.js';
import { ProcessDriver } from '../daemon/dapps/process-driver.js';
import { doorAccess } from './door-access/door-access.js';
import { detailsOf, gigs } from './gigs/gigs.js';
import { membership } from './membership/membership.js';
import type { Contract, JsonObject } from './sdk/typescript/contract.js';
import { inProcess, MemoryLedger, type Exchange } from './sdk/typescript/memory-ledger.js';

// Containers on a busy board take their time.
t.setTimeout(600_000);
const NAMES = ['door-access', 'gigs', 'membership'];
const contracts: Record<string, Contract> = { 'door-access': doorAccess, gigs, membership };
const engine = await findEngine().catch(() => null);
const noEngine = engine || process.env['CI'] === 'true' ? false : 'no container engine answers';

const root = new URL('../../', import.meta.url);
const out = mkdtempSync(join(tmpdir(), 'mergetown-packages-'));
t.teardown(() => rmSync(out, { recursive: true, force: true }));
const { buildDapps } = (await import(new URL('scripts/build-dapps.mjs', root).href)) as {
  buildDapps(out: string): Promise<string[]>;
};
const built = await buildDapps(out);
const packages: DappPackage[] = await Promise.all(NAMES.map((name) => readPackage(join(out, name))));

/** Numbers that look random and are the same in every run. */
function* numbers(seed: string): Generator<number, never> {
  for (let i = 0; ; i++) yield createHash('sha256').update(`${seed} ${i}`).digest().readUInt32BE(0);
}

/** Entries that hit every verb, most of them sensible, some not. */
function corpus(
  seed: string,
  count: number,
): { dapp: string; verb: string; member: string | null; body: (ids: string[]) => JsonObject }[] {
  const random = numbers(seed);
  const pick = <T>(all: readonly T[]): T => all[random.next().value % all.length] as T;
  const people = [1, 2, 3].map((i) => `p${'0'.repeat(15)}${i}`);
  const members = [1, 2, 3].map((i) => `m${'0'.repeat(15)}${i}`);
  const badges = [1, 2, 3].map((i) => `${i}`.repeat(64));
  const doors = ['front', 'shop', 'Nowhere'];
  const sealed = { enc: 1, key: 'k', iv: 'A'.repeat(16), ct: 'B'.repeat(40) };
  return Array.from({ length: count }, () => {
    const dapp = pick(NAMES);
    const verb = pick(Object.keys((contracts[dapp] as Contract).verbs));
    const [person, member, badge, door] = [pick(people), pick(members), pick(badges), pick(doors)];
    const wrong = random.next().value % 12 === 0;
    const which = random.next().value;
    const stars = 1 + (random.next().value % 5);
    const body = (ids: string[]): JsonObject => {
      if (wrong) return { person, badge, door, oops: 'Ünbekannt\u2028✓' };
      if (dapp === 'membership')
        return verb === 'link'
          ? { person, member }
          : verb === 'suspend'
            ? { person, reason: which % 3 ? sealed : 'unpaid – “überfällig”' }
            : verb === 'reinstate'
              ? { person }
              : { person, profile: sealed };
      if (dapp === 'door-access')
        return {
          'add-door': { door, name: 'Tür\u00a0№1', node: '0123456789abcdef' },
          enrol: { badge, person, doors: which % 2 ? '*' : ['front'] },
          revoke: { badge, reason: sealed },
          reactivate: { badge },
          lockdown: { door, reason: 'fire' },
          unlock: { door },
          event: { door, kind: 'tap', outcome: 'granted', code: 'granted', record: sealed, table: 1 },
        }[verb] as JsonObject;
      if (verb === 'open') return { title: 'Löten', description: 'Zeile 1\nZeile 2 ✓', price: stars * 10 };
      const gig = ids[which % Math.max(1, ids.length)] ?? '0'.repeat(64);
      const more = verb === 'complete' ? { stars } : verb === 'settle' ? { sharePercent: stars * 20 } : {};
      return { gig, details: detailsOf('Löten', 'Zeile 1\nZeile 2 ✓'), ...more };
    };
    return { dapp, verb, member: verb === 'event' ? null : member, body };
  });
}

/** A ledger with three credit members and, for the doors, two people. */
function furnished(dapp: string): MemoryLedger {
  const ledger = new MemoryLedger(dapp, { arbiterRole: 'steward' }, 3);
  for (const i of [1, 2, 3]) {
    const member = `m${'0'.repeat(15)}${i}`;
    ledger.set('kernel', 'members', member, { status: 'active' });
    ledger.set('kernel', 'accounts', `member.${member}`, { available: 500, locked: 0 });
    if (dapp === 'door-access' && i < 3)
      ledger.set('membership', 'people', `p${'0'.repeat(15)}${i}`, { status: 'active' });
  }
  return ledger;
}

/** Runs a corpus and tells everything that came out of it, as text. */
async function judge(
  exchangeOf: (dapp: string) => Exchange,
  entries: ReturnType<typeof corpus>,
): Promise<string[]> {
  const ledgers = Object.fromEntries(NAMES.map((name) => [name, furnished(name)]));
  const told: string[] = [];
  const opened: string[] = [];
  for (const { dapp, verb, member, body } of entries) {
    const ledger = ledgers[dapp] as MemoryLedger;
    ledger.now += 12 * 3600 * 1000;
    const by = member === null ? null : { member, roles: ['member', 'steward'] };
    const said = await ledger.submit(exchangeOf(dapp), verb, by, body(opened));
    if (dapp === 'gigs' && verb === 'open' && said.t === 'accept') opened.push(said.entry);
    told.push(`${dapp}.${verb} ${JSON.stringify(said)}`);
  }
  for (const name of NAMES) {
    const ledger = ledgers[name] as MemoryLedger;
    told.push(`${name} ${JSON.stringify(await ledger.test(exchangeOf(name), ['e'.repeat(64)]))}`);
    told.push(ledger.snapshot());
  }
  const rights = await (ledgers['door-access'] as MemoryLedger).query(exchangeOf('door-access'), 'rights');
  told.push(JSON.stringify(rights));
  return told;
}

/** The driver's exchange, with a kill before about every tenth message, between and inside calls. */
function restless(driver: ContractDriver, dapp: string, random: Iterator<number, never>): Exchange {
  return async (message) => {
    if (random.next().value % 10 === 0) await driver.restart(dapp);
    return driver.exchange(dapp, message);
  };
}

const exchanges = Object.fromEntries(NAMES.map((name) => [name, inProcess(contracts[name] as Contract)]));
const entries = corpus('mergetown', 400);
const reference = await judge((dapp) => exchanges[dapp] as Exchange, entries);

t.test('the corpus is worth running: every verb is accepted and refused somewhere in it', async (t) => {
  for (const name of NAMES) {
    for (const verb of Object.keys((contracts[name] as Contract).verbs)) {
      const told = reference.filter((line) => line.startsWith(`${name}.${verb} `));
      if (told.length === 0) t.fail(`${name}.${verb} is not in the corpus`);
    }
  }
  const count = (what: string): number => reference.filter((line) => line.includes(`{"t":"${what}"`)).length;
  t.ok(
    count('accept') > 80 && count('reject') > 80,
    `${count('accept')} accepted, ${count('reject')} rejected`,
  );
  t.equal(count('error'), 0);
});

const drivers: { kind: string; skip: string | false; restarts: boolean; make: () => ContractDriver }[] = [
  { kind: 'process', restarts: false },
  { kind: 'process', restarts: true },
  { kind: 'container', restarts: false },
  { kind: 'container', restarts: true },
].map(({ kind, restarts }) => ({
  kind,
  restarts,
  skip: kind === 'container' ? noEngine : false,
  make: () => {
    const options = { town: `${process.pid}`.padStart(64, 'c'), node: 'c'.repeat(16), log: () => undefined };
    return kind === 'container' ? new ContainerDriver(options, engine as Engine) : new ProcessDriver(options);
  },
}));

for (const { kind, skip, restarts, make } of drivers) {
  const how = restarts ? ', killed at random moments,' : '';
  t.test(`the ${kind} driver${how} gives the verdicts of the contracts’ own code`, { skip }, async (t) => {
    const driver = make();
    t.teardown(() => driver.stop());
    await driver.start(packages);
    // A container takes a third of a second to start again: fewer entries there.
    const few = restarts && kind === 'container' ? entries.slice(0, 100) : entries;
    const expected = few === entries ? reference : await judge((dapp) => exchanges[dapp] as Exchange, few);
    const random = numbers(kind);
    const told = await judge(
      (dapp) => (restarts ? restless(driver, dapp, random) : (message) => driver.exchange(dapp, message)),
      few,
    );
    t.same(told, expected);
  });
}

t.test('a package is the same bytes wherever and whenever it is built', async (t) => {
  t.same(built, NAMES);
  const elsewhere = mkdtempSync(join(tmpdir(), 'mergetown-elsewhere-'));
  t.teardown(() => rmSync(elsewhere, { recursive: true, force: true }));
  const script = new URL('scripts/build-dapps.mjs', root);
  execFileSync(process.execPath, [
    '--input-type=module',
    '-e',
    `import { buildDapps } from ${JSON.stringify(script.href)}; process.chdir('/'); await buildDapps(${JSON.stringify(elsewhere)});`,
  ]);
  for (const { manifest, digest } of packages) {
    t.equal((await readPackage(join(elsewhere, manifest.name))).digest, digest, manifest.name);
    const text = readFileSync(join(out, manifest.name, 'contract.mjs'), 'utf8');
    t.notOk(text.includes(fileURLToPath(root)) || text.includes(out), 'no path of this machine');
    t.notMatch(text, /sourceMappingURL/);
  }
});

t.test('each manifest names the verbs and queries that its contract has', async (t) => {
  for (const { manifest } of packages) {
    const contract = contracts[manifest.name] as Contract;
    t.same(Object.keys(manifest.verbs).sort(), Object.keys(contract.verbs).sort(), manifest.name);
    t.same([...manifest.queries].sort(), Object.keys(contract.queries ?? {}).sort());
  }
});
