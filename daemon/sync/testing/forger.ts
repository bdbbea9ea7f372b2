/** For tests: what a liar with a town's real keys can put on the line, true but for what somebody twists of it, or no message at all. */
// Before what it is about.
import '../small-packets.js';
import { createCipheriv } from 'node:crypto';
import { generate } from 'mqtt-packet';
import { canonicalize } from '../../ledger/canonical.js';
import type { Json } from '../../ledger/ids.js';
import { consensusTopic, directTopic, headsTopic } from '../message.js';
import type { FalseAnswerParts } from './false-answers.js';
import { twistedMessage, type Twist } from './twisted-message.js';

export interface ForgerParts extends FalseAnswerParts {
  readonly townKey: Uint8Array;
  /** The last messages of the honest, as they were on the line. */
  readonly overheard: () => readonly { readonly topic: string; readonly payload: Buffer }[];
}

export class Forger {
  #counter = 0;
  #id = 0;

  constructor(private readonly parts: ForgerParts) {}

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
  sealedText(text: string, about: string): string {
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

  /** One that the victim listens to. */
  topic(): string {
    const { dice, town, victim, liar } = this.parts;
    return dice.pick([directTopic(town, victim), headsTopic(town, liar.id), consensusTopic(town)]);
  }

  /** Text of arrays or objects, deeper than anybody nests them. */
  deep(): string {
    const { dice } = this.parts;
    const deep = dice.pick([70, 1_000, 20_000]);
    const [open, close] = dice.pick([
      ['[', ']'],
      ['{"a":', '}'],
    ] as const);
    return `${open.repeat(deep)}${dice.next() < 0.5 ? `1${close.repeat(deep)}` : ''}`;
  }

  /** A thing that somebody said, changed somewhere. */
  mutated(): Buffer {
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
}
