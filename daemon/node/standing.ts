/** How members stand: suspended, reinstated, gone. Use cases of the town hall. */
import { TownError, isMemberId } from '../ledger/ids.js';
import { readMember } from '../ledger/kernel.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import type { StandingCases } from './money-cases.js';
import { ABOUT } from './names.js';
import { recorded } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Recorded } from './recorded.js';
import type { Sessions } from './sessions.js';
import type { View } from './view.js';

const REASON_MAX = 200;

export interface StandingParts {
  readonly view: View;
  readonly appender: Appender;
  readonly records: PrivateRecords;
  readonly sessions: Sessions;
  readonly clock: Clock;
  /** Resolves once the view is as it was before the start. @throws TownError `starting` */
  readonly settled: () => Promise<void>;
}

export class Standing implements StandingCases {
  constructor(private readonly parts: StandingParts) {}

  async suspend(
    token: string,
    member: string,
    { reason }: { reason?: string | undefined },
  ): Promise<Recorded> {
    await this.parts.settled();
    const { sessions, appender, records, clock } = this.parts;
    const session = sessions.needPermission(token, 'member.suspend');
    this.assertMember(member);
    if ((reason?.length ?? 0) > REASON_MAX)
      throw new TownError('bad-reason', `A reason has at most ${REASON_MAX} characters.`);
    const sealed = reason?.trim()
      ? { reason: await records.seal(member, ABOUT.suspension, reason.trim(), clock.now()) }
      : {};
    return recorded(await appender.claim('member.suspend', { member, ...sealed }, session));
  }

  async reinstate(token: string, member: string): Promise<Recorded> {
    await this.parts.settled();
    const session = this.parts.sessions.needPermission(token, 'member.reinstate');
    this.assertMember(member);
    return recorded(await this.parts.appender.claim('member.reinstate', { member }, session));
  }

  async leave(token: string): Promise<Recorded> {
    await this.parts.settled();
    const session = this.parts.sessions.needPermission(token, 'member.leave');
    return recorded(await this.parts.appender.claim('member.leave', {}, session));
  }

  private assertMember(member: string): void {
    if (!isMemberId(member) || !readMember(this.parts.view.state, member))
      throw new TownError('not-found', `There is no member ${member}.`, 'See the list of members.');
  }
}
