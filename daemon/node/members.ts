/** Credit members: founding, inviting, joining, credits. Use cases of the town hall and the bank. */
import { randomBytes } from 'node:crypto';
import { accountOf, readAccount, readIncoming } from '../ledger/accounts.js';
import { STEWARD } from '../ledger/charter.js';
import { canonicalize } from '../ledger/canonical.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, KeyId, MemberId, Millis } from '../ledger/ids.js';
import { TownError, isMemberId } from '../ledger/ids.js';
import {
  INVITATION_DOMAIN,
  invitationText,
  readKey,
  readMember,
  type Invitation,
  type Member,
} from '../ledger/kernel.js';
import { memberIdOf, publicKeyOf, signText } from '../ledger/signature.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import { assertPassphrase, cleanName, type KeyStore, type NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { ABOUT, readPerson, type Names } from './names.js';
import { keysOf, recorded, type People } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Session, Sessions } from './sessions.js';
import type { MemberView, Recorded, SessionView } from './use-cases.js';
import type { View } from './view.js';

const INVITATION_MS = 7 * 86_400_000;

/** What an invitation code stands for; kept by the code's hash. The name is local, never in the ledger. */
interface KeptInvitation {
  readonly invitation: Invitation;
  readonly name: string;
  readonly person: string;
}

export interface MembersParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly records: PrivateRecords;
  readonly names: Names;
  readonly people: People;
  readonly sessions: Sessions;
  readonly keyStore: KeyStore;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** Where the panel is, for links. */
  readonly url: () => string;
}

export class Members {
  private joining = new Set<string>();

  constructor(private readonly parts: MembersParts) {}

  /** True until there is a first steward; never at a node that joined a town, which has one. */
  get needsSetup(): boolean {
    const { view, store } = this.parts;
    return view.state.keys('kernel', 'members', '', 1).length === 0 && store.meta('welcome') === null;
  }

  /** A new one-time setup token; earlier ones end. Only its hash is kept. */
  async newSetupToken(): Promise<string> {
    const token = randomBytes(24).toString('base64url');
    await this.parts.store.setMeta('setup-token', sha256(token));
    return token;
  }

  /** The first steward: own key under their passphrase, vouched for by this node; then the first door. */
  async setup(
    input: { token: string; name: string; passphrase: string },
    addDoor: (session: Session) => Promise<unknown>,
  ): Promise<SessionView> {
    const { store, keys, appender, keyStore } = this.parts;
    if (!this.needsSetup)
      throw new TownError(
        'setup-used',
        'This town has been set up; the setup link works once.',
        'Sign in with the name chosen then.',
      );
    const expected = store.meta('setup-token');
    if (expected === null || sha256(input.token) !== expected)
      throw new TownError(
        'setup-expired',
        'This setup link is not the newest one of this node.',
        'Use the link that the last start printed, or start the daemon again for a new one.',
      );
    const name = cleanName(input.name);
    assertPassphrase(input.passphrase);
    return this.once('setup', async () => {
      // There is no member yet: a key of this name is what an interrupted setup left.
      await keyStore.layAside(name);
      const secretKey = new Uint8Array(randomBytes(32));
      const member = memberIdOf(publicKeyOf(secretKey));
      // The key first: an entry whose key is lost would leave a town without a steward.
      await keyStore.put(member, name, secretKey, input.passphrase);
      await this.orTakeBack(
        publicKeyOf(secretKey),
        appender.claim('member.found', {}, { secretKey }, [keys]),
      );
      await store.setMeta('setup-token', 'used');
      return this.settleIn(member, name, secretKey, null, addDoor);
    });
  }

  /** What follows a join: the person's record, its link to the member, and a session. */
  private async settleIn(
    member: MemberId,
    name: string,
    secretKey: Uint8Array,
    person: string | null,
    more: (session: Session) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<SessionView> {
    const { sessions, people, appender } = this.parts;
    const view = sessions.start(member, name, secretKey);
    const session = sessions.need(view.token);
    const linked = person ?? (await people.addAs(session, name, null)).person;
    // Of two who were invited by one name the second finds the record taken: a steward tells the two apart.
    if (readPerson(this.parts.view.state, linked)?.member === null)
      await appender.claim('membership.link', { person: linked, member }, session);
    await more(session);
    return view;
  }

  /** A member whose first entry is refused leaves no key behind. */
  private async orTakeBack<T>(key: KeyId, entry: Promise<T>): Promise<T> {
    try {
      return await entry;
    } catch (error) {
      await this.parts.keyStore.remove(key);
      throw error;
    }
  }

  private async once<T>(what: string, task: () => Promise<T>): Promise<T> {
    if (this.joining.has(what)) throw new TownError('busy', 'This is being done already.', 'Wait a moment.');
    this.joining.add(what);
    try {
      return await task();
    } finally {
      this.joining.delete(what);
    }
  }

  list(token: string): readonly MemberView[] {
    const session = this.parts.sessions.need(token);
    const seesAll = this.parts.sessions.may(session, 'credit.grant');
    return [...keysOf(this.parts.view.state, 'kernel', 'members')].map((id) =>
      this.memberView(id, seesAll || id === session.member),
    );
  }

  private memberView(id: string, withBalance: boolean): MemberView {
    const { view, names, keyStore } = this.parts;
    const member = readMember(view.state, id) as Member;
    const account = readAccount(view.state, accountOf(id)) ?? { available: 0, locked: 0 };
    return {
      id,
      name: names.ofMember(id),
      roles: member.roles,
      keys: member.keys.map((key) => ({ key, status: readKey(view.state, key)?.status ?? 'revoked' })),
      balance: withBalance ? account.available : null,
      locked: withBalance ? account.locked : null,
      incoming: withBalance ? readIncoming(view.state, accountOf(id)) : null,
      status: member.status,
      here: keyStore.has(id),
    };
  }

  /** A code that admits one member, once, within seven days; the steward's signature goes with it. */
  async invite(
    token: string,
    input: { name: string; roles?: readonly string[] | undefined },
  ): Promise<{ code: string; link: string; expiresAt: number }> {
    const { sessions, main, clock, store, people, url } = this.parts;
    const session = sessions.needPermission(token, 'member.invite');
    const name = cleanName(input.name);
    const roles = [...new Set(['member', ...(input.roles ?? [])])].sort();
    const unknown = roles.find((role) => !Object.hasOwn(main.charter.roles, role));
    if (unknown !== undefined)
      throw new TownError(
        'no-such-role',
        `The charter has no role "${unknown}".`,
        `It has: ${Object.keys(main.charter.roles).join(', ')}.`,
      );
    if (
      roles.includes(STEWARD) &&
      !readMember(this.parts.view.state, session.member)?.roles.includes(STEWARD)
    )
      throw new TownError('not-allowed', 'Only a steward can invite a steward.');
    this.parts.keyStore.assertFree(name);
    const person = await people.findOrAdd(session, name);
    const content = {
      town: main.town,
      nonce: sha256(randomBytes(32)),
      roles,
      // A merge's time never goes back: after a clock that ran ahead, the invitation would be over before it begins.
      until: Math.max(clock.now(), main.head.time) + INVITATION_MS,
    };
    const sig = signText(session.secretKey, INVITATION_DOMAIN, invitationText(content));
    const invitation: Invitation = { ...content, by: publicKeyOf(session.secretKey), sig };
    const code = randomBytes(18).toString('base64url');
    const kept: KeptInvitation = { invitation, name, person };
    await store.putInvitation({
      hash: sha256(code),
      text: canonicalize(kept),
      expires: content.until as Millis,
    });
    return { code, link: `${url()}/join#${code}`, expiresAt: content.until };
  }

  /** Joins with a code: a new key under the passphrase, the grant from the vault, a session. */
  async join(input: {
    code: string;
    name?: string | undefined;
    passphrase: string;
  }): Promise<SessionView & { entry: string }> {
    const { store, clock, keyStore, appender } = this.parts;
    const hash = sha256(input.code.trim());
    const row = store.invitation(hash);
    if (!row)
      throw new TownError(
        'no-such-invitation',
        'No invitation of this town has this code.',
        'Check the code, or ask a steward for a new one.',
      );
    if (row.used !== null)
      throw new TownError(
        'invitation-used',
        'This invitation was used already: each is good for one member.',
        'Ask a steward for a new one.',
      );
    if (row.expires < clock.now())
      throw new TownError(
        'invitation-expired',
        'This invitation has expired.',
        'Ask a steward for a new one.',
      );
    const kept = JSON.parse(row.text) as KeptInvitation;
    const name = cleanName(input.name ?? kept.name);
    assertPassphrase(input.passphrase);
    keyStore.assertFree(name);
    return this.once(hash, async () => {
      const secretKey = new Uint8Array(randomBytes(32));
      const member = memberIdOf(publicKeyOf(secretKey));
      await keyStore.put(member, name, secretKey, input.passphrase);
      const body = { invitation: kept.invitation as unknown as JsonObject };
      const { id } = await this.orTakeBack(
        publicKeyOf(secretKey),
        appender.claim('member.join', body, { secretKey }),
      );
      await store.useInvitation(hash, clock.now());
      return { ...(await this.settleIn(member, name, secretKey, kept.person)), entry: id };
    });
  }

  async transfer(
    token: string,
    input: { to: string; amount: number; memo?: string | undefined },
  ): Promise<Recorded> {
    const session = this.parts.sessions.needPermission(token, 'credit.transfer');
    return this.pay('credit.transfer', session, input.to, input.amount, input.memo);
  }

  async grant(
    token: string,
    input: { to: string; amount: number; reason: string; from?: 'suspense' | undefined },
  ): Promise<Recorded> {
    const session = this.parts.sessions.needPermission(token, 'credit.grant');
    return this.pay('credit.grant', session, input.to, input.amount, input.reason, input.from);
  }

  private async pay(
    type: string,
    session: Session,
    to: string,
    amount: number,
    memo: string | undefined,
    from?: 'suspense',
  ): Promise<Recorded> {
    const { view, records, clock, appender } = this.parts;
    if (!isMemberId(to) || !readMember(view.state, to))
      throw new TownError('not-found', `There is no member ${to}.`, 'See the list of members.');
    if (readMember(view.state, to)?.status === 'left')
      throw new TownError('member-left', 'This member has left the town: the credits would go to nobody.');
    if ((memo?.length ?? 0) > 300) throw new TownError('bad-memo', 'A note has at most 300 characters.');
    const sealed = memo?.trim()
      ? { memo: await records.seal(session.member, ABOUT.memo, memo.trim(), clock.now()) }
      : {};
    const source = from === undefined ? {} : { from };
    return recorded(await appender.claim(type, { to, amount, ...sealed, ...source }, session));
  }
}
