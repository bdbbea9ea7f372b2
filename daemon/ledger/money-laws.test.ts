/** Laws of the accounts under any sequence of entries, any order of merges; LAW_RUNS=n tries the first n times instead of 2,000, the second half as often. */
import fc from 'fast-check';
import t from 'tap';
import { VAULT, accountOf } from './accounts.js';
import { readAllowance } from './allowances.js';
import { dueId, readDue } from './dues.js';
import type { EntryId, JsonObject } from './ids.js';
import { KEY_DOMAIN, keyProofText, readMember } from './kernel.js';
import { signText } from './signature.js';
import { assertSupply } from './supply.js';
import { PaperTown, keyOf, memberOf, settledTown } from './testing/paper-town.js';
import { secretOf } from './testing/small-town.js';

const RUNS = Number(process.env['LAW_RUNS'] ?? 2000);
t.setTimeout(RUNS * 500);
const settled = settledTown();
const NODES = ['alpha', 'beta', 'gamma'] as const;
const PEOPLE = ['ada', 'bob', 'cid', 'dan'] as const;
const nodeIds = new Map(NODES.map((name) => [name, settled.branches.get(name)?.node as string]));
/** Who may come in later, with an invitation each; and further keys with their proofs. */
const NEWCOMERS = ['eve', 'fay'] as const;
const invitations = new Map(NEWCOMERS.map((name) => [name, settled.invitation(name)]));
const proofs = new Map(
  PEOPLE.map((name) => {
    const key = keyOf(`${name} again`);
    const text = keyProofText(settled.town, memberOf(name), key);
    return [name, { key, proof: signText(secretOf(`${name} again`), KEY_DOMAIN, text) }];
  }),
);

/** A town where some have put credits at nodes already. */
function begun(): PaperTown {
  const town = new PaperTown(settled);
  const open = (who: string, node: (typeof NODES)[number], amount: number) =>
    town.record('alpha', who, 'allowance.open', { node: nodeIds.get(node) as string, amount });
  open('cid', 'beta', 150);
  open('dan', 'gamma', 120);
  open('cid', 'alpha', 30);
  town.merge();
  for (const name of NODES) town.adopt(name);
  return town;
}

/** One step of a story: what happens, and by numbers to whom and how much. */
interface Step<What extends string> {
  readonly what: What;
  readonly node: (typeof NODES)[number];
  readonly other: (typeof NODES)[number];
  readonly who: (typeof PEOPLE)[number];
  readonly whom: (typeof PEOPLE)[number];
  readonly amount: number;
}
function stories<What extends string>(weights: { readonly [what in What]: number }, maxLength: number) {
  const what = fc.oneof(
    ...Object.entries<number>(weights).map(([value, weight]) => ({
      weight,
      arbitrary: fc.constant(value as What),
    })),
  );
  const step = fc.record({
    what,
    node: fc.constantFrom(...NODES),
    other: fc.constantFrom(...NODES),
    who: fc.constantFrom(...PEOPLE),
    whom: fc.constantFrom(...PEOPLE),
    amount: fc.integer({ min: 1, max: 220 }),
  });
  return fc.array(step as fc.Arbitrary<Step<What>>, { minLength: 5, maxLength, size: 'max' });
}

/** What takes somebody's say or changes the rules: each may happen at any moment, anywhere. */
const disturbances: {
  readonly [what: string]: (step: Step<string>) => { type: string; body: JsonObject; cosigners?: string[] };
} = {
  revoke: ({ whom }) => ({ type: 'member.revoke-key', body: { key: keyOf(whom) } }),
  suspend: ({ whom }) => ({ type: 'member.suspend', body: { member: memberOf(whom) } }),
  reinstate: ({ whom }) => ({ type: 'member.reinstate', body: { member: memberOf(whom) } }),
  leave: () => ({ type: 'member.leave', body: {} }),
  roles: ({ whom, amount }) => ({
    type: 'member.roles',
    body: { member: memberOf(whom), roles: amount % 2 === 0 ? ['member'] : ['member', 'steward'] },
  }),
  charter: ({ amount }) => ({
    type: 'charter.change',
    body: { set: { '/allowances/most': amount, '/members/grant': amount }, remove: [] },
  }),
  expel: ({ other }) => ({
    type: 'charter.change',
    body: { set: {}, remove: [`/nodes/${nodeIds.get(other)}`] },
  }),
};

/** How often each of them comes: seldom, beside what else happens. */
const DISTURBANCES = { revoke: 1, suspend: 1, reinstate: 1, leave: 1, roles: 1, charter: 1, expel: 1 };

t.test(
  'a payment that a node made within what it had adopted is never rejected and never short',
  async (t) => {
    const weights = {
      open: 6,
      pay: 8,
      meter: 3,
      return: 2,
      transfer: 2,
      merge: 6,
      adopt: 6,
      ...DISTURBANCES,
    };
    let covered = 0;
    const law = fc.property(stories(weights, 40), (steps) => {
      const town = begun();
      const promised = new Set<EntryId>();
      const verdicts = new Map<EntryId, string>();
      const merge = (quota?: (name: string, open: number) => number) => {
        for (const { id, verdict, code } of town.merge(quota).receipt.entries)
          verdicts.set(id, `${verdict}${code ? ` ${code}` : ''}`);
      };
      for (const step of steps) {
        const { what, node, other, who, whom, amount } = step;
        const has = (word: string) =>
          readAllowance(town.view(node), memberOf(word), nodeIds.get(node) as string)?.amount ?? 0;
        switch (what) {
          case 'open':
            town.record(node, who, 'allowance.open', { node: nodeIds.get(other) as string, amount });
            break;
          case 'pay':
          case 'meter': {
            // Only what its own view covers: that is the node's promise.
            const payer = has(who) > 0 ? who : PEOPLE.find((word) => has(word) > 0);
            if (!payer || (payer === whom && what === 'meter')) break;
            const paid = Math.min(has(payer), amount);
            const to = what === 'pay' ? memberOf(whom) : accountOf(memberOf(whom));
            const type = what === 'pay' ? 'allowance.pay' : 'notes.meter';
            promised.add(
              town.record(node, node, type, { member: memberOf(payer), to, amount: paid }).entry.id,
            );
            break;
          }
          case 'return':
            town.record(node, node, 'allowance.return', { member: memberOf(who) });
            break;
          case 'transfer':
            town.record(node, who, 'credit.transfer', { to: memberOf(whom), amount });
            break;
          case 'merge':
            merge((name, open) => (name === node ? open : Math.min(open, amount % 4)));
            break;
          case 'adopt':
            town.adopt(node);
            break;
          default: {
            const { type, body } = disturbances[what]?.(step) as { type: string; body: JsonObject };
            town.record(node, who, type, body);
          }
        }
      }
      merge();
      for (const id of promised) {
        if (verdicts.get(id) !== 'accepted') throw new Error(`a promised payment is ${verdicts.get(id)}`);
        if (readDue(town.state, dueId(id, 0))) throw new Error('a promised payment is owed');
      }
      covered += promised.size;
      return true;
    });
    fc.assert(law, { numRuns: RUNS });
    t.ok(covered > RUNS, `${covered} payments were promised and kept`);
  },
);

t.test(
  'the supply is what it is after any sequence of any entries, in every merge and every view',
  async (t) => {
    const weights = {
      open: 4,
      pay: 4,
      meter: 2,
      bill: 1,
      return: 2,
      fence: 2,
      'pay-due': 3,
      'waive-due': 1,
      transfer: 3,
      grant: 1,
      'grant-suspense': 1,
      hold: 3,
      'pay-hold': 2,
      join: 1,
      key: 1,
      found: 1,
      erase: 1,
      fork: 1,
      evidence: 1,
      readmit: 1,
      wait: 1,
      merge: 6,
      adopt: 6,
      ...DISTURBANCES,
    };
    const seen = new Map<string, number>();
    const law = fc.property(stories(weights, 60), (steps) => {
      const town = begun();
      const facts: EntryId[] = [];
      for (const step of steps) {
        const { what, node, other, who, whom, amount } = step;
        const [from, to] = [memberOf(who), memberOf(whom)];
        const at = nodeIds.get(other) as string;
        const claim = (type: string, body: JsonObject) => town.record(node, who, type, body);
        const fact = (type: string, body: JsonObject) =>
          void facts.push(town.record(node, node, type, body).entry.id);
        const due = facts[amount % Math.max(facts.length, 1)] ?? '0'.repeat(64);
        const newcomer = NEWCOMERS[amount % 2] as (typeof NEWCOMERS)[number];
        switch (what) {
          case 'open':
            claim('allowance.open', { node: at, amount });
            break;
          case 'pay':
            fact('allowance.pay', { member: from, to: amount % 9 === 0 ? VAULT : to, amount });
            break;
          case 'meter':
            fact('notes.meter', { member: from, to: amount % 3 === 0 ? VAULT : accountOf(to), amount });
            break;
          case 'bill':
            claim('notes.bill', { member: to, to: VAULT, amount });
            break;
          case 'return':
            fact('allowance.return', { member: from });
            break;
          case 'fence':
            claim('allowance.fence', { member: to, node: at, n: amount % 12 });
            break;
          case 'pay-due':
            claim('due.pay', amount % 2 === 0 ? { due } : { due, amount: 1 });
            break;
          case 'waive-due':
            claim('due.waive', { due });
            break;
          case 'transfer':
            claim('credit.transfer', { to, amount });
            break;
          case 'grant':
            claim('credit.grant', { to, amount });
            break;
          case 'grant-suspense':
            claim('credit.grant', { to, amount: amount % 20, from: 'suspense' });
            break;
          case 'hold':
            claim('notes.hold', { id: `h${amount % 5}`, amount, deadline: 1_700_000_000_000 + amount * 200 });
            break;
          case 'pay-hold':
            claim('notes.pay', {
              id: `h${amount % 5}`,
              to: amount % 7 === 0 ? VAULT : accountOf(to),
              amount,
            });
            break;
          case 'join':
            town.record(node, newcomer, 'member.join', {
              invitation: invitations.get(newcomer) as JsonObject,
            });
            break;
          case 'key':
            claim('member.add-key', proofs.get(who) as JsonObject);
            break;
          case 'found':
            town.record(node, newcomer, 'member.found', {}, [node]);
            break;
          case 'erase':
            claim('record.erase', { subject: to });
            break;
          case 'fork':
            claim('fork.adopt', {
              line: 'try',
              node: at,
              head: '1'.repeat(64),
              seq: 1,
              base: '2'.repeat(64),
            });
            break;
          case 'evidence':
            fact('evidence.equivocation', { kind: 'blocks', a: 'AA', b: 'AB' });
            break;
          case 'readmit':
            claim('node.readmit', { node: at, head: '1'.repeat(64), seq: 1 });
            break;
          case 'wait':
            town.pass(amount * 3_600_000);
            break;
          case 'merge':
            for (const { type, verdict } of town.merge((name, open) =>
              name === node ? open : Math.min(open, amount % 4),
            ).receipt.entries)
              if (verdict !== 'rejected') seen.set(type, (seen.get(type) ?? 0) + 1);
            break;
          case 'adopt':
            town.adopt(node);
            break;
          default: {
            const { type, body } = disturbances[what]?.(step) as { type: string; body: JsonObject };
            town.record(node, who, type, body);
          }
        }
        for (const name of NODES) assertSupply(town.view(name), town.supply);
      }
      town.merge();
      // Whoever left holds nothing that could be spent.
      for (const name of PEOPLE) {
        const member = readMember(town.state, memberOf(name));
        const account = JSON.parse(
          town.state.get('kernel', 'accounts', accountOf(memberOf(name))) as string,
        ) as {
          available: number;
        };
        if (member?.status === 'left' && account.available !== 0) throw new Error('credits of nobody');
      }
      return true;
    });
    fc.assert(law, { numRuns: Math.ceil(RUNS / 2) });
    t.comment(JSON.stringify(Object.fromEntries([...seen].sort())));
    for (const type of [
      'allowance.open',
      'allowance.fence',
      'due.pay',
      'due.waive',
      'member.leave',
      'notes.hold',
    ])
      t.ok((seen.get(type) ?? 0) > RUNS / 200, `${type} was accepted often enough to mean something`);
  },
);
