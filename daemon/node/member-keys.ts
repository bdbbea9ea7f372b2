/** Further keys of a member: asked for at one node, registered at another, revoked anywhere. */
import { randomBytes } from 'node:crypto';
import type { KeyId, MemberId, NodeId } from '../ledger/ids.js';
import { TownError, isKeyId, isMemberId } from '../ledger/ids.js';
import { KEYS_MAX, readKey, readMember } from '../ledger/kernel.js';
import { publicKeyOf } from '../ledger/signature.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import type { KeyCases, KeyRequested, OwnKeyView } from './key-cases.js';
import { makeKeyCode, readKeyCode } from './key-code.js';
import { assertPassphrase, cleanName, type KeyStore, type NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { recorded } from './people.js';
import type { Sessions } from './sessions.js';
import type { Recorded } from './use-cases.js';
import type { View } from './view.js';

/** Keys asked for and not registered: anybody can ask, so they are few and not for ever. */
const REQUESTS_MAX = 100;
const REQUEST_MS_MAX = 7 * 86_400_000;
/** One that is older makes room for a new one where there is none left. */
const REQUEST_MS_SAFE = 3_600_000;
/** Requests that are being made at once: each takes scrypt's memory. */
const UNDERWAY_MAX = 4;

export interface MemberKeysParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly sessions: Sessions;
  readonly keyStore: KeyStore;
  readonly keys: NodeKeys;
  readonly clock: Clock;
}

/** What this node was told of where a key lies. */
const placeOf = (key: string): string => `key-node:${key}`;

export class MemberKeys implements KeyCases {
  private underway = 0;

  constructor(private readonly parts: MemberKeysParts) {}

  async request(input: { member: string; name: string; passphrase: string }): Promise<KeyRequested> {
    const { member } = input;
    const name = cleanName(input.name);
    assertPassphrase(input.passphrase);
    this.assertMayHaveMore(member);
    if (this.underway >= UNDERWAY_MAX)
      throw new TownError('busy', 'Other keys are being made just now.', 'Try again in a moment.');
    this.underway += 1;
    try {
      return (
        (await this.again(member, name, input.passphrase)) ??
        (await this.make(member, name, input.passphrase))
      );
    } finally {
      this.underway -= 1;
    }
  }

  /** @throws TownError `not-found`, `too-many-keys` */
  private assertMayHaveMore(id: string): asserts id is MemberId {
    const member = isMemberId(id) ? readMember(this.parts.view.state, id) : undefined;
    if (!member)
      throw new TownError(
        'not-found',
        `This node knows no member ${id}.`,
        'See your own id with town whoami where you can sign in; a new member is known here after the next merge.',
      );
    if (member.keys.length >= KEYS_MAX)
      throw new TownError('too-many-keys', `A member has at most ${KEYS_MAX} keys, revoked ones included.`);
  }

  /** The code of a request that was made before with the same words: it may have been lost on its way. */
  private async again(member: MemberId, name: string, passphrase: string): Promise<KeyRequested | null> {
    const { keyStore, view } = this.parts;
    const key = keyStore.keyOf(name);
    if (key === null) return null;
    // A revoked key is of no use: its name is free for the next.
    if (readKey(view.state, key)?.status === 'revoked') {
      await keyStore.layAside(name);
      return null;
    }
    const waits = keyStore.requests.some((one) => one.key === key && one.member === member);
    const unlocked = waits ? await keyStore.unlock(name, passphrase).catch(() => null) : null;
    return unlocked && this.codeOf(member, unlocked.secretKey);
  }

  private async make(member: MemberId, name: string, passphrase: string): Promise<KeyRequested> {
    const { keyStore, clock } = this.parts;
    keyStore.assertFree(name);
    await this.makeRoom();
    const secretKey = new Uint8Array(randomBytes(32));
    await keyStore.put(member, name, secretKey, passphrase, clock.now());
    return this.codeOf(member, secretKey);
  }

  private codeOf(member: MemberId, secretKey: Uint8Array): KeyRequested {
    const { main, keys } = this.parts;
    const key = publicKeyOf(secretKey);
    const code = makeKeyCode({ town: main.town, member, key, node: keys.id }, secretKey);
    secretKey.fill(0);
    return { code, key, member };
  }

  /** @throws TownError `too-many-requests` */
  private async makeRoom(): Promise<void> {
    const { keyStore, clock } = this.parts;
    await this.settle();
    const age = (requested: number): number => clock.now() - requested;
    const waiting = keyStore.requests;
    for (const { key, requested } of waiting) if (age(requested) > REQUEST_MS_MAX) await keyStore.remove(key);
    const [oldest] = keyStore.requests;
    if (!oldest || keyStore.requests.length < REQUESTS_MAX - this.underway) return;
    if (age(oldest.requested) < REQUEST_MS_SAFE)
      throw new TownError(
        'too-many-requests',
        'Many keys were asked for here within the hour and are not registered yet.',
        'Try again in an hour.',
      );
    await keyStore.remove(oldest.key);
  }

  /** Keys that `main` has by now are their members'. To be called after every merge, and at the start. */
  async settle(): Promise<void> {
    const { keyStore, main } = this.parts;
    for (const { key, member } of keyStore.requests)
      if (readKey(main.state, key)?.member === member) await keyStore.settle(key);
  }

  async add(token: string, input: { code: string }): Promise<Recorded> {
    const { sessions, main, view, appender, store } = this.parts;
    const session = sessions.needPermission(token, 'member.add-key');
    const { town, member, key, proof, node } = readKeyCode(input.code);
    if (town !== main.town)
      throw new TownError(
        'other-town',
        'The code is of another town.',
        'Ask for the key at a node of this town.',
      );
    if (member !== session.member)
      throw new TownError(
        'other-member',
        `The code is of the member ${member}; you are ${session.member}.`,
        'Each member registers their own keys: ask for one with your own id (town whoami).',
      );
    const known = readKey(view.state, key);
    if (known)
      throw new TownError('already-registered', `This key is registered already: it is ${known.status}.`);
    const entry = await appender.claim('member.add-key', { key, proof }, session);
    await store.setMeta(placeOf(key), node);
    return recorded(entry);
  }

  async revoke(token: string, { key }: { key: string }): Promise<Recorded> {
    const { sessions, view, appender } = this.parts;
    const session = sessions.needPermission(token, 'member.revoke-key');
    const known = isKeyId(key) ? readKey(view.state, key) : undefined;
    if (!known)
      throw new TownError('unknown-key', 'No member has this key.', 'See your own with town key list.');
    if (known.status === 'revoked') throw new TownError('already-revoked', 'This key is revoked already.');
    if (known.member === session.member && this.activeKeysOf(session.member).length === 1)
      throw new TownError(
        'last-key',
        'This is your last key: without it nobody could sign for you, nor reach your credits.',
        'Register another one first (town key request, at any node), or ask a steward.',
      );
    return recorded(await appender.claim('member.revoke-key', { key }, session));
  }

  private activeKeysOf(member: MemberId): readonly KeyId[] {
    const { state } = this.parts.view;
    return (readMember(state, member)?.keys ?? []).filter((key) => readKey(state, key)?.status === 'active');
  }

  async list(token: string): Promise<readonly OwnKeyView[]> {
    const { sessions, view, keyStore } = this.parts;
    const session = sessions.need(token);
    const here = keyStore.keys;
    return (readMember(view.state, session.member)?.keys ?? [])
      .map((key) => this.viewOf(key, here, session.key))
      .sort((a, b) => a.since - b.since || (a.key < b.key ? -1 : 1));
  }

  private viewOf(key: KeyId, here: ReadonlySet<KeyId>, current: KeyId): OwnKeyView {
    const { view, main, store, keys } = this.parts;
    const known = readKey(view.state, key);
    const onMain = readKey(main.state, key);
    const node = here.has(key) ? keys.id : (store.meta(placeOf(key)) as NodeId | null);
    return {
      key,
      status: known?.status ?? 'revoked',
      state: known && onMain?.status === known.status ? 'merged' : 'pending',
      since: known?.since ?? 0,
      node: node === null ? null : { id: node, name: main.charter.nodes[node]?.name ?? node },
      here: here.has(key),
      current: key === current,
    };
  }
}
