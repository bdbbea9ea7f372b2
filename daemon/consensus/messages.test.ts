/** Quorums, votes, proposals and certificates: what is signed, and what proves a merge. */
import fc from 'fast-check';
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { certificateOf, certificateText, parseCertificate, verifyCertificate } from './certificate.js';
import type { Certificate } from './certificate.js';
import { messageText } from './place.js';
import { parseProposal, signProposal, VALUE_BYTES_MAX, verifyProposal, type Proposal } from './proposal.js';
import { mayBeOff, quorumOf, skipCountOf, type QuorumRule } from './quorum.js';
import { parseVote, signVote, valueIdOf, verifyVote, type Vote, type VoteContent } from './vote.js';

const secrets = Array.from({ length: 4 }, (_, i) => Buffer.alloc(32, i + 1));
const keys = secrets.map(publicKeyOf);
const nodes = keys.map(nodeIdOf);
const bytes = Buffer.from('tree 0123\n\nMerge 7\n');
const value = valueIdOf(bytes);
const other = valueIdOf(Buffer.from('another'));
const place = { town: sha256('town'), line: 'main', epoch: 0, height: 7, parent: sha256('parent') };
const content: VoteContent = { ...place, round: 2, step: 'precommit', value };
const voteBy = (i: number, change: Partial<VoteContent> = {}): Vote =>
  signVote({ ...content, ...change }, nodes[i] as NodeId, secrets[i] as Uint8Array);

t.test('the quorum is what the charter rule says, for every number that it allows', async (t) => {
  const table: [number, QuorumRule, number, number][] = [
    [1, 'majority', 1, 0],
    [1, 'two-thirds', 1, 0],
    [2, 'majority', 2, 0],
    [2, 'two-thirds', 2, 0],
    [3, 'majority', 2, 1],
    [4, 'majority', 3, 1],
    [5, 'majority', 3, 2],
    [4, 'two-thirds', 3, 1],
    [5, 'two-thirds', 4, 1],
    [6, 'two-thirds', 5, 1],
    [7, 'two-thirds', 5, 2],
    [100, 'two-thirds', 67, 33],
  ];
  for (const [n, rule, quorum, off] of table) {
    t.equal(quorumOf(n, rule), quorum, `${n} with ${rule}`);
    t.equal(mayBeOff(n, rule), off);
  }
  t.throws(() => quorumOf(3, 'two-thirds'), { code: 'bad-quorum', advice: /four/ });
  for (const n of [0, -1, 1.5, NaN]) t.throws(() => quorumOf(n, 'majority'), { code: 'bad-quorum' });

  const sizes = fc.integer({ min: 4, max: 1000 });
  fc.assert(
    fc.property(sizes, fc.constantFrom<QuorumRule>('majority', 'two-thirds'), (n, rule) => {
      const quorum = quorumOf(n, rule);
      const liars = rule === 'two-thirds' ? Math.floor((n - 1) / 3) : 0;
      t.ok(2 * quorum - n > liars, 'two quorums share a validator that does not lie');
      t.ok(n - quorum >= liars, 'liars alone cannot stop it');
      const skip = skipCountOf(n, rule);
      t.ok(skip > liars, 'liars alone take nobody to another round');
      t.ok(
        skip <= 2 * quorum - n,
        'of a quorum that voted, as many are left when the most that may be off are',
      );
      t.ok(skip <= n - quorum + 1, 'a round that can be decided no more is left');
    }),
  );
});

t.test('a vote holds for exactly what it says', async (t) => {
  const vote = voteBy(0);
  const key = keys[0] as KeyId;
  t.ok(verifyVote(vote, key));
  t.notOk(verifyVote(vote, keys[1] as KeyId), 'another key');
  const changes: Partial<Vote>[] = [
    { town: sha256('another town') },
    { line: 'draft' },
    { epoch: 1 },
    { height: 8 },
    { round: 3 },
    { step: 'prevote' },
    { value: null },
    { value: other },
    { parent: sha256('another parent') },
    { sig: voteBy(1).sig },
    { sig: '' },
    { round: -1 },
    { height: 0 },
    { round: 0.5 },
    { line: '../x' },
    { node: 'x' as NodeId },
  ];
  for (const change of changes) t.notOk(verifyVote({ ...vote, ...change }, key), JSON.stringify(change));
  t.notOk(verifyVote({ ...vote, more: 1 } as Vote, key), 'an unknown field');
  t.same(parseVote(messageText(vote)), vote);
  t.throws(() => parseVote(canonicalize({ ...vote, step: 'commit' })), { code: 'bad-vote', message: /step/ });
  t.throws(() => parseVote(canonicalize({ ...vote, more: 1 })), { code: 'bad-vote', message: /more/ });
  t.throws(() => parseVote('[]'), { code: 'bad-vote' });
  t.throws(() => parseVote(` ${messageText(vote)}`), { code: 'not-canonical' });
  const { sig: _, ...unsigned } = vote;
  t.throws(() => parseVote(canonicalize(unsigned)), { code: 'bad-vote', message: /sig/ });
  t.ok(verifyVote(voteBy(0, { value: null }), key), 'nil can be voted for');
});

t.test('a proposal holds for exactly its bytes', async (t) => {
  const key = keys[0] as KeyId;
  const proposal = signProposal(
    { ...place, round: 2, validRound: 1, value },
    nodes[0] as NodeId,
    secrets[0] as Uint8Array,
  );
  t.ok(verifyProposal(proposal, bytes, key));
  t.notOk(verifyProposal(proposal, Buffer.from('another'), key));
  t.notOk(verifyProposal(proposal, bytes, keys[1] as KeyId));
  const changes: Partial<Proposal>[] = [
    { validRound: 0 },
    { validRound: -1 },
    { validRound: 2 },
    { round: 3 },
  ];
  for (const change of changes) t.notOk(verifyProposal({ ...proposal, ...change }, bytes, key));
  t.same(parseProposal(messageText(proposal)), proposal);
  t.throws(() => parseProposal(canonicalize({ ...proposal, validRound: -2 })), { code: 'bad-proposal' });
  const large = Buffer.alloc(VALUE_BYTES_MAX + 1);
  const tooLarge = signProposal(
    { ...place, round: 2, validRound: -1, value: valueIdOf(large) },
    nodes[0] as NodeId,
    secrets[0] as Uint8Array,
  );
  t.notOk(verifyProposal(tooLarge, large, key), 'too many bytes');
  // A vote's signature is never a proposal's, though they say much the same.
  t.notOk(verifyProposal({ ...proposal, sig: voteBy(0).sig }, bytes, key));
});

t.test('a certificate proves a quorum, or says what is missing', async (t) => {
  const validators = new Map(nodes.map((node, i) => [node, keys[i] as KeyId]));
  const refuses = (certificate: Certificate, message: RegExp, rule: QuorumRule = 'two-thirds'): void => {
    t.throws(() => verifyCertificate(certificate, validators, rule), { code: 'bad-certificate', message });
  };
  const good = certificateOf([2, 0, 1].map((i) => voteBy(i)));
  verifyCertificate(good, validators, 'two-thirds');
  t.same(parseCertificate(certificateText(good)), good);
  t.equal(
    certificateText(certificateOf([0, 1, 2].map((i) => voteBy(i)))),
    certificateText(good),
    'one text, whatever the order the votes came in',
  );

  const { votes } = good;
  const [first, second, third] = votes as [(typeof votes)[0], (typeof votes)[0], (typeof votes)[0]];
  refuses({ ...good, votes: [first, second] }, /2 validators signed, 3 are needed/);
  refuses({ ...good, votes: [first, first, second] }, /twice/);
  refuses({ ...good, votes: [second, first, third] }, /order/);
  refuses({ ...good, votes: [] }, /0 validators/);
  refuses({ ...good, votes: [first, second, { ...third, sig: first.sig }] }, /signature/);
  refuses({ ...good, value: other }, /signature/);
  refuses({ ...good, round: 1 }, /signature/);
  refuses({ ...good, height: 8 }, /signature/);
  refuses({ ...good, town: 'x' as Sha256 }, /town/);
  const mixed = { ...good, votes: [first, second, { node: third.node, sig: '' }] };
  refuses(mixed, /votes/);
  const prevote = voteBy(nodes.indexOf(third.node), { step: 'prevote' });
  refuses({ ...good, votes: [first, second, { node: third.node, sig: prevote.sig }] }, /signature/);

  const stranger = Buffer.alloc(32, 99);
  const strange = signVote(content, nodeIdOf(publicKeyOf(stranger)), stranger);
  refuses(certificateOf([voteBy(0), voteBy(1), voteBy(2), strange]), /not a validator/);
  t.throws(() => certificateOf([voteBy(0), voteBy(1, { round: 3 })]), { code: 'invariant' });
  t.throws(() => certificateOf([voteBy(0, { value: null })]), { code: 'invariant' });
  t.throws(() => certificateOf([]), { code: 'invariant' });

  const one = new Map([...validators].slice(0, 1));
  verifyCertificate(certificateOf([voteBy(0)]), one, 'majority');
});
