/** Who is signed in: a token for the person, their unlocked key inside the node. Nothing of it is on disk. */
import { randomBytes } from 'node:crypto';
import { permissionsOf, permits } from '../ledger/charter.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, MemberId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readKey, readMember } from '../ledger/kernel.js';
import { forgetSecretKey, publicKeyOf } from '../ledger/signature.js';
import type { Clock } from './clock.js';
import type { KeyStore } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { SessionView } from './use-cases.js';
import type { View } from './view.js';

const IDLE_MS = 12 * 3_600_000;
const SESSIONS_MAX = 1000;

export interface Session {
  readonly member: MemberId;
  readonly name: string;
  /** The one of the member's keys that this session signs with. */
  readonly key: KeyId;
  readonly secretKey: Uint8Array;
  usedAt: number;
}

const revoked = (): TownError =>
  new TownError(
    'key-revoked',
    'The key that you sign with at this node was revoked: it signs nothing any more.',
    'Sign in where you have another key, or ask for a new one here: town key request.',
  );

export class Sessions {
  constructor(
    private readonly keyStore: KeyStore,
    private readonly main: MainLine,
    private readonly view: View,
    private readonly clock: Clock,
    /** By the SHA-256 of the token, so that a look at the memory of this map signs nobody in. */
    private readonly open: Map<string, Session> = new Map(),
  ) {}

  /** The same sessions on another line: who is signed in on one is so on all, with the roles that each gives. */
  on(line: MainLine, view: View): Sessions {
    return new Sessions(this.keyStore, line, view, this.clock, this.open);
  }

  /** @throws TownError `wrong-passphrase`, `key-not-registered`, `key-revoked` */
  async signIn(name: string, passphrase: string): Promise<SessionView> {
    const { member, name: known, key, secretKey } = await this.keyStore.unlock(name, passphrase);
    const registered = readKey(this.view.state, key);
    if (registered?.member === member && registered.status === 'active')
      return this.start(member, known, secretKey);
    secretKey.fill(0);
    if (registered?.member === member) throw revoked();
    throw new TownError(
      'key-not-registered',
      `The key of "${known}" lies here, but it is not registered in the town yet.`,
      'Sign in at a node where you can, and there: town key add CODE. Once that is merged and has come here, sign in again.',
    );
  }

  start(member: MemberId, name: string, secretKey: Uint8Array): SessionView {
    this.dropIdle();
    if (this.open.size >= SESSIONS_MAX) {
      const [oldest] = [...this.open].sort(([, a], [, b]) => a.usedAt - b.usedAt);
      if (oldest) this.drop(oldest[0]);
    }
    const token = randomBytes(32).toString('base64url');
    this.open.set(sha256(token), {
      member,
      name,
      key: publicKeyOf(secretKey),
      secretKey,
      usedAt: this.clock.now(),
    });
    const view = this.look(token);
    if (!view) throw new TownError('signed-out', 'The session ended before it began.');
    return view;
  }

  /**
   * The session of a token, its idle time begun anew (unless only peeked at); null where there is none.
   * @throws TownError `key-revoked` unless only peeked at: then null
   */
  look(token: string, peek = false): SessionView | null {
    const session = this.find(token, peek);
    if (!session) return null;
    if (this.isRevoked(session)) {
      if (peek) return null;
      throw revoked();
    }
    const roles = this.rolesOf(session.member);
    return {
      token,
      member: session.member,
      name: session.name,
      roles,
      permissions: permissionsOf(this.main.charter, roles),
      expiresAt: session.usedAt + IDLE_MS,
    };
  }

  /** @throws TownError `signed-out`, `key-revoked` */
  need(token: string): Session {
    const session = this.find(token);
    if (!session)
      throw new TownError(
        'signed-out',
        'You are not signed in, or your session has ended.',
        'Sign in again.',
      );
    // It is found out here and not by a refused entry, and it stays so: a revocation on its way is no reason to sign on.
    if (this.isRevoked(session)) throw revoked();
    return session;
  }

  private isRevoked({ key }: Session): boolean {
    return readKey(this.view.state, key)?.status === 'revoked';
  }

  /** The session, if its roles permit this. @throws TownError `signed-out`, `key-revoked`, `not-allowed` */
  needPermission(token: string, permission: string): Session {
    const session = this.need(token);
    const status = readMember(this.view.state, session.member)?.status;
    if (status === 'suspended' || status === 'left')
      throw new TownError(
        `member-${status}`,
        status === 'left'
          ? 'You have left the town.'
          : 'You are suspended: you can look, and receive credits.',
        status === 'left'
          ? 'A steward can invite you anew.'
          : 'A steward can reinstate you (town member reinstate).',
      );
    if (!this.may(session, permission))
      throw new TownError(
        'not-allowed',
        `The charter does not allow "${permission}" to you (${this.rolesOf(session.member).join(', ') || 'no role'}).`,
        'Ask a steward.',
      );
    return session;
  }

  may(session: Session, permission: string): boolean {
    return permits(this.main.charter, this.rolesOf(session.member), permission);
  }

  end(token: string): void {
    this.drop(sha256(token));
  }

  /** Members whose records were erased are called by their ids. */
  forgetNames(members: readonly string[]): void {
    for (const [id, session] of this.open)
      if (members.includes(session.member)) this.open.set(id, { ...session, name: session.member });
  }

  private find(token: string, peek = false): Session | null {
    const id = sha256(token);
    const session = this.open.get(id);
    if (!session) return null;
    const now = this.clock.now();
    if (now - session.usedAt > IDLE_MS) {
      this.drop(id);
      return null;
    }
    if (!peek) session.usedAt = now;
    return session;
  }

  private rolesOf(member: MemberId): readonly string[] {
    return readMember(this.view.state, member)?.roles ?? [];
  }

  private dropIdle(): void {
    const now = this.clock.now();
    for (const [id, { usedAt }] of this.open) if (now - usedAt > IDLE_MS) this.drop(id);
  }

  private drop(id: string): void {
    const session = this.open.get(id);
    if (!session) return;
    this.open.delete(id);
    const stillUsed = [...this.open.values()].some(({ key }) => key === session.key);
    if (!stillUsed) forgetSecretKey(session.secretKey);
    session.secretKey.fill(0);
  }
}
