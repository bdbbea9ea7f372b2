/** Allowances and dues: use cases of the bank. */
import { VAULT, accountOf } from '../ledger/accounts.js';
import { readAllowance, readComing, readFence } from '../ledger/allowances.js';
import { STEWARD } from '../ledger/charter.js';
import { readDue } from '../ledger/dues.js';
import type { NodeId } from '../ledger/ids.js';
import { TownError, isMemberId } from '../ledger/ids.js';
import { isSuspended } from '../ledger/kernel-evidence.js';
import { readMember } from '../ledger/kernel.js';
import { readBranch } from '../ledger/order.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import { withCosigners } from './cosigners.js';
import type { KeyStore, NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import type { AllowanceView, AllowancesView, DueView, MoneyCases } from './money-cases.js';
import { ABOUT, type Names } from './names.js';
import { keysOf, recorded } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Recorded } from './recorded.js';
import type { Session, Sessions } from './sessions.js';
import type { View } from './view.js';

const MEMO_MAX = 300;
const MEMBER = 'member.';

export interface MoneyParts {
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly records: PrivateRecords;
  readonly names: Names;
  readonly sessions: Sessions;
  readonly keyStore: KeyStore;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** Resolves once the view is as it was before the start. @throws TownError `starting` */
  readonly settled: () => Promise<void>;
}

export class Money implements MoneyCases {
  constructor(private readonly parts: MoneyParts) {}

  async allowances(token: string): Promise<AllowancesView> {
    await this.parts.settled();
    const { sessions, view, main } = this.parts;
    const session = sessions.need(token);
    const seesAll = sessions.may(session, 'allowance.fence');
    const places = new Set([
      ...keysOf(view.state, 'kernel', 'allowances'),
      ...[...keysOf(view.state, 'kernel', 'incoming')]
        .filter((place) => place.startsWith('allowance.'))
        .map((place) => place.slice('allowance.'.length)),
    ]);
    const items = [...places]
      .map((place) => place.split('.') as [string, string])
      .filter(([member]) => seesAll || member === session.member)
      .map(([member, node]) => this.allowanceView(member, node));
    const { most, fenceWaitMs } = main.charter.allowances;
    return { most, fenceWaitMs, items };
  }

  private allowanceView(member: string, node: string): AllowanceView {
    const { view, names, main, keys } = this.parts;
    const fence = readFence(view.state, member, node);
    return {
      member,
      memberName: names.ofMember(member),
      node,
      nodeName: main.charter.nodes[node]?.name ?? node,
      here: node === keys.id,
      amount: readAllowance(view.state, member, node)?.amount ?? 0,
      coming: readComing(view.state, member, node),
      fence: fence ? { n: fence.n, until: fence.until } : null,
    };
  }

  async openAllowance(token: string, input: { node: string; amount: number }): Promise<Recorded> {
    await this.parts.settled();
    const session = this.parts.sessions.needPermission(token, 'allowance.open');
    const { node, amount } = input;
    return recorded(await this.parts.appender.claim('allowance.open', { node, amount }, session));
  }

  async payAllowance(
    token: string,
    { to, amount, memo }: { to: string; amount: number; memo?: string | undefined },
  ): Promise<Recorded> {
    await this.parts.settled();
    const { sessions, view, records, clock, appender, keys } = this.parts;
    const session = sessions.need(token);
    this.assertOnMain();
    assertPayee(to, to === VAULT ? undefined : readMember(view.state, to)?.status);
    if ((memo?.length ?? 0) > MEMO_MAX)
      throw new TownError('bad-memo', `A note has at most ${MEMO_MAX} characters.`);
    const { member } = session;
    const sealed = memo?.trim()
      ? { memo: await records.seal(member, ABOUT.memo, memo.trim(), clock.now()) }
      : {};
    const check = (): void => this.assertCovers(session, keys.id as NodeId, amount);
    return recorded(await appender.promise('allowance.pay', { member, to, amount, ...sealed }, check));
  }

  /** A node answers for payments on main alone: what a draft says of them would be known to nobody else. */
  private assertOnMain(): void {
    if (this.parts.main.line !== MAIN)
      throw new TownError('main-only', 'Allowances are paid out and returned on main, not on a draft.');
  }

  /** By this node's own count, what main gave less what it recorded since: it promises nothing that it cannot keep. */
  private assertCovers({ member }: Session, node: NodeId, amount: number): void {
    const { view } = this.parts;
    const status = readMember(view.state, member)?.status;
    if (status !== 'active')
      throw new TownError('member-suspended', 'You are suspended, or have left: you cannot pay.');
    if (isSuspended(view.state, node))
      throw new TownError(
        'node-suspended',
        'This node is suspended: its payments would not be merged.',
        'A steward can readmit it (town node readmit).',
      );
    if (readFence(view.state, member, node))
      throw new TownError(
        'allowance-fenced',
        'The town is closing this allowance: nothing more is paid from it.',
        'What is left of it comes back to you when the wait is over.',
      );
    const held = readAllowance(view.state, member, node)?.amount ?? 0;
    if (held >= amount) return;
    const coming = readComing(view.state, member, node);
    throw new TownError(
      'allowance-short',
      `Your allowance at this node covers ${held} credits; these are ${amount}.` +
        (coming > 0 ? ` ${coming} more are on their way and can be spent once merged.` : ''),
      'Put more there (town allowance open), or pay from your account (town member transfer).',
    );
  }

  async returnAllowance(token: string, input: { member?: string | undefined }): Promise<Recorded> {
    await this.parts.settled();
    const { sessions, appender, view, keys } = this.parts;
    const session = sessions.need(token);
    this.assertOnMain();
    const member = input.member ?? session.member;
    if (member !== session.member) sessions.needPermission(token, 'allowance.fence');
    const check = (): void => {
      if (!readAllowance(view.state, member, keys.id))
        throw new TownError(
          'no-allowance',
          'There is no allowance at this node that could be returned.',
          'See where there are any: town allowance list. Each is returned at its own node.',
        );
    };
    return recorded(await appender.promise('allowance.return', { member }, check));
  }

  async fenceAllowance(
    token: string,
    { member, node, n, cosigners = [] }: Parameters<MoneyCases['fenceAllowance']>[1],
  ): Promise<Recorded> {
    await this.parts.settled();
    const { sessions, appender, main, keyStore } = this.parts;
    const session = sessions.needPermission(token, 'allowance.fence');
    const last = n ?? readBranch(main.state, node, MAIN)?.n ?? 0;
    return withCosigners(keyStore, cosigners, async (signers) =>
      recorded(await appender.claim('allowance.fence', { member, node, n: last }, session, signers)),
    );
  }

  async dues(token: string): Promise<readonly DueView[]> {
    await this.parts.settled();
    const { sessions, view } = this.parts;
    const session = sessions.need(token);
    const own = accountOf(session.member);
    const isSteward = readMember(view.state, session.member)?.roles.includes(STEWARD) === true;
    return [...keysOf(view.state, 'kernel', 'dues')].flatMap((id) => {
      const due = readDue(view.state, id);
      if (!due || !(isSteward || due.member === session.member || due.to === own)) return [];
      return [this.dueView(id, due.member === session.member, isSteward || due.to === own)];
    });
  }

  private dueView(id: string, owes: boolean, mayWaive: boolean): DueView {
    const { view, names } = this.parts;
    const { member, to, amount, entry, since } = readDue(view.state, id) as NonNullable<
      ReturnType<typeof readDue>
    >;
    const creditor = to.startsWith(MEMBER) ? to.slice(MEMBER.length) : to;
    return {
      ...{ id, member, amount, entry, since },
      memberName: names.ofMember(member),
      to: creditor,
      toName: creditor === VAULT ? null : names.ofMember(creditor),
      can: [...(owes ? (['pay'] as const) : []), ...(mayWaive ? (['waive'] as const) : [])],
    };
  }

  async payDue(
    token: string,
    { due, amount }: { due: string; amount?: number | undefined },
  ): Promise<Recorded> {
    await this.parts.settled();
    const session = this.parts.sessions.needPermission(token, 'due.pay');
    const body = { due, ...(amount === undefined ? {} : { amount }) };
    return recorded(await this.parts.appender.claim('due.pay', body, session));
  }

  async waiveDue(token: string, { due }: { due: string }): Promise<Recorded> {
    await this.parts.settled();
    const session = this.parts.sessions.needPermission(token, 'due.waive');
    return recorded(await this.parts.appender.claim('due.waive', { due }, session));
  }
}

function assertPayee(to: string, status: 'active' | 'suspended' | 'left' | undefined): void {
  if (to === VAULT) return;
  if (!isMemberId(to) || !status)
    throw new TownError('not-found', `There is no member ${to}.`, 'See the list of members.');
  if (status === 'left') throw new TownError('member-left', 'Who would be paid has left the town.');
}
