/**
 * For tests: garbage of every kind for a node, from one seed: of a stranger, of the broker, and of a node of the charter that lies, with
 * its real keys. Each kind says by which names it may be refused.
 */
// Before what it is about.
import '../small-packets.js';
import { createCipheriv } from 'node:crypto';
import { generate } from 'mqtt-packet';
import { canonicalize } from '../../ledger/canonical.js';
import { sha256 } from '../../ledger/hash.js';
import type { Json, NodeId } from '../../ledger/ids.js';
import { packMerges } from '../block-batch.js';
import { consensusTopic, directTopic, headsTopic, MESSAGE_BYTES_MAX } from '../message.js';
import { BOMB, wrongPack, type FalseAnswerParts, type Signer } from './false-answers.js';
import { twistedMessage, type Twist } from './twisted-message.js';

/** What a node waits for. */
export interface Asked {
  readonly kind: 'blocks' | 'merges';
  readonly node: NodeId;
  readonly from: number;
  /** It goes behind what waits already, and is looked at after that. */
  readonly isBehind: boolean;
}

export interface GarbageParts extends FalseAnswerParts {
  readonly townKey: Uint8Array;
  /** In no charter; has the town's key all the same. */
  readonly stranger: Signer;
  /** In the charter, and honest: its messages are heard and changed. */
  readonly honest: NodeId;
  /** The last messages of the honest, as they were on the line. */
  readonly overheard: () => readonly { readonly topic: string; readonly payload: Buffer }[];
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
  #counter = 0;
  #id = 0;

  constructor(private readonly parts: GarbageParts) {}

  /** A PUBLISH packet. */
  packet(topic: string, payload: Buffer | string, { retain = false, qos = 1 as 0 | 1 | 2 } = {}): Buffer {
    this.#id = (this.#id % 65_535) + 1;
    return generate({ cmd: 'publish', topic, payload, qos, retain, dup: false, messageId: this.#id });
  }

  /** Sealed and signed by the liar, true but for the twist. */
  sealed(topic: string, kind: Json, body: Json, twist: Twist = {}): string {
    const { dice, liar, now, town, townKey } = this.parts;
    this.#counter = Math.max(now(), this.#counter + 1);
    const said = { topic, kind, body, counter: this.#counter, at: now(), iv: dice.bytes(12) };
    return twistedMessage({ town, townKey, from: liar.id, secretKey: liar.secretKey, ...said }, twist);
  }

  /** Any text in a right seal. */
  #sealedText(text: string, about: string): string {
    const { dice, townKey } = this.parts;
    const nonce = dice.bytes(12);
    const cipher = createCipheriv('aes-256-gcm', townKey, nonce, { authTagLength: 16 });
    cipher.setAAD(Buffer.from(`mergetown/envelope/v1\0${canonicalize(['town', about])}`));
    const ct = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return canonicalize({
      enc: 1,
      key: 'town',
      iv: nonce.toString('base64url'),
      ct: ct.toString('base64url'),
    });
  }

  /** To the victim alone, as the liar. */
  told(kind: Json, body: Json, twist: Twist = {}, retain = false): Buffer {
    const topic = directTopic(this.parts.town, this.parts.victim);
    return this.packet(topic, this.sealed(topic, kind, body, { to: this.parts.victim, ...twist }), {
      retain,
    });
  }

  /** Any value, of any shape and size, deep or wide, with names that JavaScript has for itself. */
  junk(depth = 0): Json {
    const { dice } = this.parts;
    const odd: Json[] = [
      null,
      true,
      0,
      -1,
      1e300,
      2 ** 53,
      0.5,
      '',
      '__proto__',
      '\u0000',
      'ł',
      'x'.repeat(300),
    ];
    const roll = dice.below(depth > 4 ? 1 : 4);
    if (roll <= 1) return dice.pick(odd);
    const names = [
      '__proto__',
      'constructor',
      'toString',
      'from',
      'to',
      'merges',
      'blocks',
      'packed',
      'tips',
      'x',
    ];
    const many = dice.below(5);
    if (roll === 2) return Array.from({ length: many }, () => this.junk(depth + 1));
    return JSON.parse(
      `{${Array.from({ length: many }, () => `${JSON.stringify(dice.pick(names))}:${JSON.stringify(this.junk(depth + 1))}`).join()}}`,
    ) as Json;
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

  #topic(): string {
    const { dice, town, victim, liar } = this.parts;
    return dice.pick([directTopic(town, victim), headsTopic(town, liar.id), consensusTopic(town)]);
  }

  #deep(): string {
    const { dice } = this.parts;
    const deep = dice.pick([70, 1_000, 20_000]);
    const [open, close] = dice.pick([
      ['[', ']'],
      ['{"a":', '}'],
    ] as const);
    return `${open.repeat(deep)}${dice.next() < 0.5 ? `1${close.repeat(deep)}` : ''}`;
  }

  /** A thing that somebody said, changed somewhere. */
  #mutated(): Buffer {
    const { dice, overheard, town } = this.parts;
    const { topic, payload } = dice.pick(overheard());
    const bytes = Buffer.from(payload);
    const at = dice.below(bytes.length);
    const how = dice.below(4);
    if (how === 0) bytes[at] = (bytes[at] as number) ^ (1 << dice.below(8));
    const cut =
      how === 1
        ? bytes.subarray(0, Math.max(1, at))
        : how === 2
          ? Buffer.concat([bytes.subarray(0, at), dice.bytes(1 + dice.below(8)), bytes.subarray(at)])
          : bytes;
    return this.packet(
      how === 3 ? consensusTopic(town) : topic,
      how === 3 ? Buffer.from(`${payload.toString()} `) : cut,
    );
  }

  /** What the victim asked the liar for, answered with what it should not have. */
  #answer(): [Buffer, ...string[]] {
    const asked = this.parts.asked();
    const { dice, liar } = this.parts;
    const [packed, ...ends] = wrongPack(
      this.parts,
      () => this.#deep(),
      () => this.junk(),
    );
    if (asked === null)
      return [this.told('have', { blocks: { node: liar.id, from: 1, packed } }), 'unsolicited'];
    const { kind, node, from, isBehind } = asked;
    // Of the honest one's branch true blocks come too, and those of another are none.
    const ofHonest = node === liar.id ? [] : ['other-branch', 'gap', 'taken', 'bad-signature'];
    if (isBehind) ofHonest.push('taken');
    if (kind === 'blocks')
      return [this.told('have', { blocks: { node, from, packed } }), ...ends, ...ofHonest];
    const forged = packMerges([{ raw: dice.bytes(400), certificate: JSON.stringify(this.junk()) }]).packed;
    return [
      this.told('have', { merges: { from, packed: dice.next() < 0.5 ? forged : packed } }),
      'bad-certificate',
      'bad-batch',
      'batch-too-large',
    ];
  }

  #kinds(): readonly (readonly [kind: string, weight: number, make: () => [Buffer, ...string[]]])[] {
    const { dice, town, victim, liar, stranger, honest, now, main, blocks } = this.parts;
    const body = { merges: { from: 1, to: 1 } };
    const direct = directTopic(town, victim);
    const mine = headsTopic(town, liar.id);
    const tipsOf = (seq: number) => ({ [liar.id]: { seq, head: sha256(`${dice.next()}`) } });
    return [
      [
        'random bytes',
        70,
        () => [
          this.packet(this.#topic(), dice.bytes(1 + dice.below(dice.pick([40, 400, 4_000])))),
          'not-sealed',
        ],
      ],
      [
        'JSON that is none of ours',
        25,
        () => [this.packet(this.#topic(), JSON.stringify(this.junk())), 'not-sealed'],
      ],
      ['deep JSON', 2, () => [this.packet(this.#topic(), this.#deep()), 'not-sealed']],
      [
        'a changed message',
        70,
        // Where the change is one of the packet's alone (who kept it, say), it is a message said again.
        () => [
          this.#mutated(),
          ...['not-sealed', 'replayed', 'expired', 'misaddressed', 'bad-signature', 'malformed'],
        ],
      ],
      [
        'said again',
        8,
        () => {
          const { topic, payload } = dice.pick(this.parts.overheard());
          return [this.packet(topic, payload), 'replayed', 'expired'];
        },
      ],
      [
        'sealed on another topic',
        2,
        () => [
          this.packet(direct, this.sealed(direct, 'want', body, { to: victim, about: mine })),
          'not-sealed',
        ],
      ],
      ['another town’s key', 2, () => [this.told('want', body, { townKey: sealKey }), 'not-sealed']],
      [
        'another town’s topic',
        10,
        () => [this.packet(`mergetown/${sha256('elsewhere').slice(0, 16)}/consensus`, 'x'), 'other-topic'],
      ],
      [
        'no topic of ours',
        10,
        () => [
          this.packet(
            `mergetown/${town.slice(0, 16)}/${dice.pick(['heads/nobody', 'to/x/y', 'join', 'consensus/1', 'heads/'])}`,
            'x',
          ),
          'other-topic',
        ],
      ],
      [
        'signed for another town',
        2,
        () => [this.told('want', body, { town: sha256('elsewhere') }), 'bad-signature'],
      ],
      ['in the name of another', 2, () => [this.told('want', body, { from: honest }), 'bad-signature']],
      [
        'heads of another',
        1,
        () => {
          const topic = headsTopic(town, honest);
          return [this.packet(topic, this.sealed(topic, 'heads', {})), 'misaddressed'];
        },
      ],
      ['for another', 1, () => [this.told('want', body, { to: honest }), 'misaddressed']],
      [
        'of a stranger',
        2,
        () => [this.told('want', body, { from: stranger.id, secretKey: stranger.secretKey }), 'unknown-node'],
      ],
      ['too old', 2, () => [this.told('want', body, { at: now() - 7_200_000 }), 'expired']],
      ['from the future', 1, () => [this.told('want', body, { at: now() + 86_400_000 }), 'expired']],
      ['that lives too long', 1, () => [this.told('want', body, { expires: now() + 1e12 }), 'malformed']],
      ['more fields', 1, () => [this.told('want', body, { more: { cc: 'all' } }), 'malformed']],
      [
        'a value that is no message',
        3,
        () => [this.packet(direct, this.#sealedText(canonicalize(this.junk()), direct)), 'malformed'],
      ],
      [
        'deep JSON in the seal',
        1,
        () => [this.packet(direct, this.#sealedText(this.#deep(), direct)), 'not-sealed'],
      ],
      [
        'a message of junk',
        8,
        () => [
          this.told(
            dice.pick(['want', 'have', 'heads', 'hello', 'keys', '', 'Want', 'x'.repeat(99)]),
            this.junk(),
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
          return [this.told(kind, { [name]: this.junk() }), 'malformed'];
        },
      ],
      [
        'of the validators, junk',
        4,
        () => {
          const topic = consensusTopic(town);
          const kind = dice.pick(['vote', 'proposal', 'decree']);
          return [
            this.packet(topic, this.sealed(topic, kind, { [kind]: this.junk(), bytes: this.junk() })),
            'malformed',
            'bad-vote',
            'bad-proposal',
          ];
        },
      ],
      ['kept by the broker', 3, () => [this.told('want', body, {}, true), 'retained-command']],
      ['junk kept as heads', 12, () => [this.packet(mine, dice.bytes(200), { retain: true }), 'not-sealed']],
      [
        'larger than a message',
        1,
        () => [
          this.packet(this.#topic(), Buffer.alloc(MESSAGE_BYTES_MAX + 1 + dice.below(600), 0x20)),
          'too-large',
        ],
      ],
      [
        'larger than a packet',
        1,
        () => [
          this.packet(this.#topic(), Buffer.alloc(MESSAGE_BYTES_MAX + 2_000 + dice.below(100_000), 0x20)),
          'too-large',
        ],
      ],
      [
        'promises',
        4,
        () => [
          this.packet(
            mine,
            this.sealed(mine, 'heads', {
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
          this.packet(
            mine,
            this.sealed(mine, 'heads', {
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
          this.told(
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
          this.told(
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
      ['numbers beyond all', 1, () => [this.told('want', body, { counter: 2 ** 53 }), 'malformed']],
      ['of quality 2', 1, () => [this.packet(direct, 'x', { qos: 2 }), 'not-mqtt']],
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
