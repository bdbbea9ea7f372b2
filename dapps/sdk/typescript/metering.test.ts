/** A small dapp that meters: what it charges in memory is what the kernel's own rules make of it. */
import t from 'tap';
import { fromContractSchemas } from '../../../daemon/dapps/messages.js';
import { Value } from 'typebox/value';
import { accept, type Contract } from './contract.js';
import { integer, onlyFields, text } from './body.js';
import { inProcess, MemoryLedger } from './memory-ledger.js';

const MEMBER = 'm0123456789abcdef';
const OWNER = 'mfedcba9876543210';
const NODE = '0123456789abcdef';

/** Washing machines: 2 credits a minute to whom they belong. The board says how long one ran, and for whom. */
const laundry: Contract = {
  verbs: {
    async ran({ body }, _ctx, read) {
      onlyFields(body, 'machine', 'member', 'minutes');
      const machine = (await read.get('machines', text(body, 'machine', 40))) as { owner: string } | null;
      const amount = 2 * integer(body, 'minutes', 1, 600);
      return accept({
        postings: [
          {
            op: 'charge',
            member: text(body, 'member', 17),
            to: machine ? `member.${machine.owner}` : 'vault',
            amount,
          },
        ],
      });
    },
  },
};

function setUp() {
  const ledger = new MemoryLedger('laundry');
  ledger.set('laundry', 'machines', 'big', { owner: OWNER });
  const exchange = inProcess(laundry);
  const ran = (machine: string, minutes: number, node = NODE) =>
    ledger.submit(exchange, 'ran', null, { machine, member: MEMBER, minutes }, node);
  return { ledger, exchange, ran };
}

t.test('what a machine used is charged to the allowance at its board first, the rest is a due', async (t) => {
  const { ledger, ran } = setUp();
  ledger.set('kernel', 'allowances', `${MEMBER}.${NODE}`, {
    member: MEMBER,
    node: NODE,
    amount: 50,
    since: 1,
  });
  const first = await ran('big', 20);
  t.match(first, { t: 'accept' });
  t.equal(ledger.balance(`member.${OWNER}`).available, 40);
  t.match(ledger.get('kernel', 'allowances', `${MEMBER}.${NODE}`), { amount: 10 });
  const second = await ran('big', 10);
  t.equal(ledger.get('kernel', 'allowances', `${MEMBER}.${NODE}`), null, 'used up, it is closed');
  t.match(ledger.get('kernel', 'dues', second.entry), {
    member: MEMBER,
    to: `member.${OWNER}`,
    amount: 10,
    entry: second.entry,
  });
  const elsewhere = await ran('small', 3, 'ffffffffffffffff');
  t.match(ledger.get('kernel', 'dues', elsewhere.entry), { to: 'vault', amount: 6 });
});

t.test('a claim charges nobody', async (t) => {
  const { ledger, exchange } = setUp();
  const body = { machine: 'big', member: MEMBER, minutes: 5 };
  t.match(await ledger.submit(exchange, 'ran', { member: MEMBER }, body), {
    t: 'reject',
    code: 'refused-by-kernel',
  });
});

t.test('a charge is a posting of the protocol, whole and positive', async (t) => {
  const said = (posting: object) => ({ t: 'accept', id: 1, writes: [], postings: [posting], notices: [] });
  const charge = { op: 'charge', member: MEMBER, to: 'vault', amount: 1 };
  const holds = (posting: object) => Value.Check(fromContractSchemas.accept, said(posting));
  t.ok(holds(charge));
  for (const wrong of [
    { ...charge, amount: 0 },
    { ...charge, amount: 1.5 },
    { ...charge, member: 'vault' },
    { ...charge, to: 'suspense' },
    { ...charge, node: NODE },
  ])
    t.notOk(holds(wrong), JSON.stringify(wrong));
});

t.test('a long unknown name is cut between its characters, never within one', (t) => {
  const body = { [`${'a'.repeat(39)}😀 and more`]: 1 };
  t.throws(() => onlyFields(body, 'member'), {
    message: new RegExp(`"${'a'.repeat(39)}😀" is not known`, 'u'),
  });
  t.end();
});
