/** The formats of protocol version 1 stand in the ledger's README with an example: it is what this code makes, byte for byte. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { entriesText, makeBlock, NO_BLOCK } from '../ledger/block.js';
import { canonicalize } from '../ledger/canonical.js';
import { charterText, makerspaceCharter } from '../ledger/charter.js';
import { signEntry } from '../ledger/entry.js';
import { bytesOf, sha256 } from '../ledger/hash.js';
import type { Json, Millis } from '../ledger/ids.js';
import { makeGenesis, makeMerge } from '../ledger/merge.js';
import { replay } from '../ledger/replay.js';
import { memberIdOf, nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { State } from '../ledger/state.js';
import { certificateOf, certificateText } from './certificate.js';
import { signVote, valueIdOf } from './vote.js';

const page = readFileSync(new URL('../../../daemon/ledger/README.md', import.meta.url), 'utf8');
const example = page.slice(page.indexOf('## An example, byte for byte'));
const secretOf = (name: string): Uint8Array => bytesOf(sha256(`secret ${name}`));
const T0 = 1_700_000_000_000;
const [key, ada] = [publicKeyOf(secretOf('alpha')), publicKeyOf(secretOf('ada'))];
const node = { id: nodeIdOf(key), key, name: 'alpha' };

t.test('the example of the page is what the code makes', async (t) => {
  const stands = (what: string, text: string): void => {
    t.ok(example.includes(text.trimEnd()), `${what} stands on the page: ${text}`);
  };
  const charter = makerspaceCharter({ name: 'Test', node, dapps: [] });
  const genesis = makeGenesis(charter, sha256('nonce'), node.id, T0 as Millis, secretOf('alpha'));
  const { town, id: base, oid } = genesis.merge;
  for (const [what, text] of Object.entries({
    key,
    node: node.id,
    ada,
    member: memberIdOf(ada),
    town,
    base,
    oid,
  }))
    stands(what, text);
  stands('the charter', charterText(charter));
  stands('the sum of the charter', sha256(charterText(charter)));
  stands('the genesis', Buffer.from(genesis.merge.raw).toString());

  const place = { v: 1 as const, town, line: 'main', base, node: node.id, by: ada, at: (T0 + 1) as Millis };
  const found = { ...place, n: 1, type: 'member.found', body: {} };
  const paid = { to: 'm0123456789abcdef', amount: 501 };
  const entries = [
    signEntry(found, secretOf('ada'), [{ by: key, secretKey: secretOf('alpha') }]),
    signEntry({ ...place, n: 2, type: 'credit.transfer', body: paid }, secretOf('ada')),
  ];
  stands('what is signed of an entry', canonicalize(found));
  for (const entry of entries) for (const text of [entry.text, entry.id]) stands('an entry', text);
  const { block } = makeBlock(
    { town, line: 'main', node: node.id, seq: 1, prev: NO_BLOCK, base },
    { prev: null, main: oid },
    entries,
    (T0 + 1) as Millis,
    secretOf('alpha'),
  );
  stands('the block', Buffer.from(block.raw).toString());
  for (const text of [block.id, block.oid, sha256(entriesText(entries))]) stands('a name of the block', text);

  const time = (T0 + 1000) as Millis;
  const state = State.from(genesis.writes);
  const parts = [{ node: node.id, line: 'main', tau: 0 as Millis, blocks: [block] }];
  const baseTime = (): Millis => T0 as Millis;
  const at = { town, line: 'main', height: 1, time, parent: base };
  const step = replay({ ...at, state, parts, baseTime, manifests: new Map() }).next();
  if (!step.done) return t.fail('no contract is asked');
  const result = step.value;
  stands('the receipt', canonicalize(result.receipt as unknown as Json));
  const [first] = [...(result.writesOf?.values() ?? [])];
  stands('what an entry wrote', canonicalize(first as unknown as Json));
  const { merge } = makeMerge(
    { ...at, heads: [block.id], node: node.id },
    { main: oid, heads: [block.oid] },
    genesis.tree,
    result,
    secretOf('alpha'),
  );
  stands('the merge', Buffer.from(merge.raw).toString());
  const value = valueIdOf(merge.raw);
  for (const text of [merge.id, merge.oid, merge.content, value]) stands('a name of the merge', text);
  const vote = signVote(
    { town, line: 'main', epoch: 0, height: 1, round: 0, parent: base, step: 'precommit', value },
    node.id,
    secretOf('alpha'),
  );
  stands('the certificate', certificateText(certificateOf([vote])));
});
