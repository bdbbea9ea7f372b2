/** What is kept of the sealed records of persons, and erasing them: use cases of the registry office. */
import { TownError } from '../ledger/ids.js';
import { readJson } from '../ledger/state.js';
import type { Appender } from './appender.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { readPerson } from './names.js';
import { keysOf, recorded, type BadgeRecord, type People } from './people.js';
import type { RecordCases, RecordsView } from './record-cases.js';
import type { RecordKeeper } from './record-keeper.js';
import { erasedOwners, mayReadRecords } from './record-rules.js';
import type { Recorded } from './recorded.js';
import type { Session, Sessions } from './sessions.js';
import type { View } from './view.js';

export interface RecordsParts {
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly sessions: Sessions;
  readonly people: People;
  readonly keeper: RecordKeeper;
  readonly keys: NodeKeys;
  /** Resolves once the view is as it was before the start. @throws TownError `starting` */
  readonly settled: () => Promise<void>;
}

export class Records implements RecordCases {
  constructor(private readonly parts: RecordsParts) {}

  async overview(token: string): Promise<RecordsView> {
    const { main, sessions, keeper, keys } = this.parts;
    sessions.needPermission(token, 'membership.add');
    const { retentionMonths, readers } = main.charter.records;
    const { months, firstMonth, missing } = keeper.overview();
    return {
      retentionMonths,
      readers,
      mayRead: mayReadRecords(main.charter, keys.id),
      months: months.map(({ month, keys: count }) => ({ month, keys: count, over: month < firstMonth })),
      missing,
      erased: erasedOwners(main.state).length,
    };
  }

  async erase(token: string, person?: string): Promise<Recorded & { person: string; badges: number }> {
    await this.parts.settled();
    const { sessions, view, appender } = this.parts;
    const session = sessions.needPermission(token, 'record.erase');
    const subject = person ?? this.ownerOf(session);
    if (person !== undefined && readPerson(view.state, person) === undefined)
      throw new TownError('not-found', `There is no person ${person}.`, 'See the list of people.');
    if (view.state.get('kernel', 'erasures', subject) !== undefined)
      throw new TownError('erased-already', 'The records of this person were erased before.');
    const isOwn = subject === this.ownerOf(session);
    if (!isOwn) sessions.needPermission(token, 'record.erase-others');
    // First: the reason of the revocation is a record too, and goes with the others.
    const badges = sessions.may(session, 'door-access.revoke') ? await this.revokeBadges(token, subject) : 0;
    return {
      ...recorded(await appender.claim('record.erase', { subject }, session)),
      person: subject,
      badges,
    };
  }

  /** The person that this member is; without one, the member. */
  private ownerOf({ member }: Session): string {
    return (
      readJson<{ readonly person: string }>(this.parts.view.state, 'membership', 'links', member)?.person ??
      member
    );
  }

  private async revokeBadges(token: string, person: string): Promise<number> {
    const { view, people } = this.parts;
    const theirs = [...keysOf(view.state, 'door-access', 'badges')].filter((badge) => {
      const record = readJson<BadgeRecord>(view.state, 'door-access', 'badges', badge);
      return record?.person === person && record.status === 'active';
    });
    for (const badge of theirs) await people.revoke(token, badge, 'The records of this person were erased.');
    return theirs.length;
  }
}
