/**
 * For tests: garbage of every kind for a node, from one seed: of a stranger, of the broker, and of a node of the charter that lies, with
 * its real keys. Each kind says by which names it may be refused.
 */
import { canonicalize } from '../../ledger/canonical.js';
import { sha256 } from '../../ledger/hash.js';
import type { NodeId } from '../../ledger/ids.js';
import { packMerges } from '../block-batch.js';
import { consensusTopic, directTopic, headsTopic, MESSAGE_BYTES_MAX } from '../message.js';
import { BOMB, wrongPack, type Signer } from './false-answers.js';
import { Forger, type ForgerParts } from './forger.js';

/** What a node waits for. */
export interface Asked {
  readonly kind: 'blocks' | 'merges';
  readonly node: NodeId;
  readonly from: number;
  /** It goes behind what waits already, and is looked at after that. */
  readonly isBehind: boolean;
}

export interface GarbageParts extends ForgerParts {
  /** In no charter; has the town's key all the same. */
  readonly stranger: Signer;
  /** In the charter, and honest: its messages are heard and changed. */
  readonly honest: NodeId;
  /** What the victim waits for from the liar; null: nothing. */
  readonly asked: () => Asked | null;
}

/** One thing on the line, and how it may end. */
export interface Trash {
  readonly kind: string;
  /** Bytes of the MQTT stream. */
  readonly line: Buffer;
  /** Names of refusals; `taken`: none, it is let be or answered. */
  readonly ends: readonly string[];
}

export class GarbageMaker {
  readonly #forger: Forger;

  constructor(private readonly parts: GarbageParts) {
    this.#forger = new Forger(parts);
  }

  /** A PUBLISH packet. */
  packet(...what: Parameters<Forger['packet']>): Buffer {
    return this.#forger.packet(...what);
  }

  /** The next piece of garbage. */
  next(): Trash {
    const { dice } = this.parts;
    const kinds = this.#kinds();
    let at = dice.below(kinds.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [kind, weight, make] of kinds) {
      at -= weight;
      if (at >= 0) continue;
      const [line, ...ends] = make();
      return { kind, line, ends };
    }
    throw new Error('The weights are counted wrongly.');
  }

  /** What the victim asked the liar for, answered with what it should not have. */
  #answer(): [Buffer, ...string[]] {
    const asked = this.parts.asked();
    const { dice, liar } = this.parts;
    const forger = this.#forger;
    const [packed, ...ends] = wrongPack(
      this.parts,
      () => forger.deep(),
      () => forger.junk(),
    );
    if (asked === null)
      return [forger.told('have', { blocks: { node: liar.id, from: 1, packed } }), 'unsolicited'];
    const { kind, node, from, isBehind } = asked;
    // Of the honest one's branch true blocks come too, and those of another are none.
    const ofHonest = node === liar.id ? [] : ['other-branch', 'gap', 'taken', 'bad-signature'];
    if (isBehind) ofHonest.push('taken');
    if (kind === 'blocks')
      return [forger.told('have', { blocks: { node, from, packed } }), ...ends, ...ofHonest];
    const forged = packMerges([{ raw: dice.bytes(400), certificate: JSON.stringify(forger.junk()) }]).packed;
    return [
      forger.told('have', { merges: { from, packed: dice.next() < 0.5 ? forged : packed } }),
      'bad-certificate',
      'bad-batch',
      'batch-too-large',
    ];
  }

  #kinds(): readonly (readonly [kind: string, weight: number, make: () => [Buffer, ...string[]]])[] {
    const { dice, town, victim, liar, stranger, honest, now, main, blocks } = this.parts;
    const forger = this.#forger;
    const body = { merges: { from: 1, to: 1 } };
    const direct = directTopic(town, victim);
    const mine = headsTopic(town, liar.id);
    const tipsOf = (seq: number) => ({ [liar.id]: { seq, head: sha256(`${dice.next()}`) } });
    return [
      [
        'random bytes',
        70,
        () => [
          forger.packet(forger.topic(), dice.bytes(1 + dice.below(dice.pick([40, 400, 4_000])))),
          'not-sealed',
        ],
      ],
      [
        'JSON that is none of ours',
        25,
        () => [forger.packet(forger.topic(), JSON.stringify(forger.junk())), 'not-sealed'],
      ],
      ['deep JSON', 2, () => [forger.packet(forger.topic(), forger.deep()), 'not-sealed']],
      [
        'a changed message',
        70,
        // Where the change is one of the packet's alone (who kept it, say), it is a message said again.
        () => [
          forger.mutated(),
          ...['not-sealed', 'replayed', 'expired', 'misaddressed', 'bad-signature', 'malformed'],
        ],
      ],
      [
        'said again',
        8,
        () => {
          const { topic, payload } = dice.pick(this.parts.overheard());
          return [forger.packet(topic, payload), 'replayed', 'expired'];
        },
      ],
      [
        'sealed on another topic',
        2,
        () => [
          forger.packet(direct, forger.sealed(direct, 'want', body, { to: victim, about: mine })),
          'not-sealed',
        ],
      ],
      ['another town’s key', 2, () => [forger.told('want', body, { townKey: sealKey }), 'not-sealed']],
      [
        'another town’s topic',
        10,
        () => [forger.packet(`mergetown/${sha256('elsewhere').slice(0, 16)}/consensus`, 'x'), 'other-topic'],
      ],
      [
        'no topic of ours',
        10,
        () => [
          forger.packet(
            `mergetown/${town.slice(0, 16)}/${dice.pick(['heads/nobody', 'to/x/y', 'join', 'consensus/1', 'heads/'])}`,
            'x',
          ),
          'other-topic',
        ],
      ],
      [
        'signed for another town',
        2,
        () => [forger.told('want', body, { town: sha256('elsewhere') }), 'bad-signature'],
      ],
      ['in the name of another', 2, () => [forger.told('want', body, { from: honest }), 'bad-signature']],
      [
        'heads of another',
        1,
        () => {
          const topic = headsTopic(town, honest);
          return [forger.packet(topic, forger.sealed(topic, 'heads', {})), 'misaddressed'];
        },
      ],
      ['for another', 1, () => [forger.told('want', body, { to: honest }), 'misaddressed']],
      [
        'of a stranger',
        2,
        () => [
          forger.told('want', body, { from: stranger.id, secretKey: stranger.secretKey }),
          'unknown-node',
        ],
      ],
      ['too old', 2, () => [forger.told('want', body, { at: now() - 7_200_000 }), 'expired']],
      ['from the future', 1, () => [forger.told('want', body, { at: now() + 86_400_000 }), 'expired']],
      ['that lives too long', 1, () => [forger.told('want', body, { expires: now() + 1e12 }), 'malformed']],
      ['more fields', 1, () => [forger.told('want', body, { more: { cc: 'all' } }), 'malformed']],
      [
        'a value that is no message',
        3,
        () => [forger.packet(direct, forger.sealedText(canonicalize(forger.junk()), direct)), 'malformed'],
      ],
      [
        'deep JSON in the seal',
        1,
        () => [forger.packet(direct, forger.sealedText(forger.deep(), direct)), 'not-sealed'],
      ],
      [
        'a message of junk',
        8,
        () => [
          forger.told(
            dice.pick(['want', 'have', 'heads', 'hello', 'keys', '', 'Want', 'x'.repeat(99)]),
            forger.junk(),
          ),
          'malformed',
          'unsolicited',
          'taken',
        ],
      ],
      [
        'bodies of junk',
        6,
        () => {
          const kind = dice.pick(['want', 'have', 'heads', 'hello']);
          const name = dice.pick(['merges', 'blocks', 'head', 'objects', 'merge', 'tips', 'speaks']);
          return [forger.told(kind, { [name]: forger.junk() }), 'malformed'];
        },
      ],
      [
        'of the validators, junk',
        4,
        () => {
          const topic = consensusTopic(town);
          const kind = dice.pick(['vote', 'proposal', 'decree']);
          return [
            forger.packet(topic, forger.sealed(topic, kind, { [kind]: forger.junk(), bytes: forger.junk() })),
            'malformed',
            'bad-vote',
            'bad-proposal',
          ];
        },
      ],
      ['kept by the broker', 3, () => [forger.told('want', body, {}, true), 'retained-command']],
      [
        'junk kept as heads',
        12,
        () => [forger.packet(mine, dice.bytes(200), { retain: true }), 'not-sealed'],
      ],
      [
        'larger than a message',
        1,
        () => [
          forger.packet(forger.topic(), Buffer.alloc(MESSAGE_BYTES_MAX + 1 + dice.below(600), 0x20)),
          'too-large',
        ],
      ],
      [
        'larger than a packet',
        1,
        () => [
          forger.packet(forger.topic(), Buffer.alloc(MESSAGE_BYTES_MAX + 2_000 + dice.below(100_000), 0x20)),
          'too-large',
        ],
      ],
      [
        'promises',
        4,
        () => [
          forger.packet(
            mine,
            forger.sealed(mine, 'heads', {
              height: main().height + dice.below(2) * 9,
              main: sha256('x'),
              tips: {
                ...tipsOf(1 + dice.below(1e6)),
                [honest]: { seq: blocks().length + dice.below(9), head: sha256('y') },
              },
            }),
            { retain: true },
          ),
          'taken',
        ],
      ],
      [
        'heads of other lines',
        1,
        () => [
          forger.packet(
            mine,
            forger.sealed(mine, 'heads', {
              height: 0,
              main: sha256('x'),
              tips: Object.fromEntries(
                Array.from({ length: 50 }, (_, i) => [
                  `${liar.id}.line-${i}-${dice.below(1e6)}`,
                  { seq: 9, head: sha256('z') },
                ]),
              ),
            }),
          ),
          'taken',
        ],
      ],
      [
        'questions',
        8,
        () => [
          forger.told(
            'want',
            dice.pick([
              body,
              { merges: { from: 1e9, to: 1e9 } },
              { blocks: { node: honest, from: 1, to: 256 } },
              { blocks: { node: `${honest}.draft-${dice.below(1e6)}`, from: 1, to: 9 } },
              { head: { id: sha256(`${dice.next()}`), from: 0 } },
              { objects: { ids: [sha256(`${dice.next()}`).slice(0, 40)], at: 0 } },
              { merge: { height: 1e6 } },
            ]),
          ),
          'taken',
          'busy',
        ],
      ],
      [
        'answers to what was not asked',
        6,
        () => [
          forger.told(
            'have',
            dice.pick([
              { merges: { from: 1 + dice.below(1e6), packed: BOMB.slice(0, 9_000) } },
              { blocks: { node: honest, from: 1e6, packed: '' } },
              { head: { id: sha256('none'), from: 0, packed: 'AAAA' } },
              { objects: { id: sha256('none').slice(0, 40), at: 0, packed: '' } },
            ]),
          ),
          'unsolicited',
        ],
      ],
      ['false answers', 20, () => this.#answer()],
      ['numbers beyond all', 1, () => [forger.told('want', body, { counter: 2 ** 53 }), 'malformed']],
      ['of quality 2', 1, () => [forger.packet(direct, 'x', { qos: 2 }), 'not-mqtt']],
      [
        'no MQTT',
        1,
        () => [
          Buffer.concat([
            dice.pick([
              Buffer.from([0x30, 255, 255, 255, 255, 255]),
              Buffer.from([0xff, 0]),
              Buffer.from([0x00, 2, 1, 1]),
              Buffer.from([0x36, 3, 0, 1, 0x61]),
            ]),
          ]),
          'not-mqtt',
        ],
      ],
    ];
  }
}

const sealKey = Buffer.alloc(32, 77);
