/** What members are told, told to them. */
import type { EntryId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { NoticeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { LedgerCases } from './ledger-cases.js';
import type { NoticesView, NoticeView } from './notice-cases.js';
import type { Sessions } from './sessions.js';
import type { TownEvent } from './use-cases.js';

const LIST_MAX = 200;
const UNREAD_MAX = 1000;
/** Live events of one merge; the rest is found by asking. */
const EVENTS_AT_ONCE_MAX = 200;

export class Notices {
  /** The last notice that was told live. */
  private told: number;

  constructor(
    private readonly store: Store,
    private readonly sessions: Sessions,
    private readonly ledgerCases: LedgerCases,
  ) {
    this.told = store.lastNotice();
  }

  /** Newest first; `limit`: 1 to 200. */
  list(token: string, { limit }: { limit: number }): NoticesView {
    const { member } = this.sessions.need(token);
    const rows = this.store.notices(member, Math.min(Math.max(limit, 1), LIST_MAX));
    return {
      items: rows.map((row) => this.viewOf(row)),
      unread: this.store.unreadNotices(member, UNREAD_MAX),
    };
  }

  async read(token: string, { upTo }: { upTo: number }): Promise<{ unread: number }> {
    const { member } = this.sessions.need(token);
    if (!Number.isSafeInteger(upTo) || upTo < 0)
      throw new TownError('bad-notice', 'Notices are read up to the id of one.', 'Take it from the list.');
    await this.store.readNotices(member, upTo);
    return { unread: this.store.unreadNotices(member, UNREAD_MAX) };
  }

  /** What has come since this was asked last, for those who listen. */
  fresh(): readonly TownEvent[] {
    const rows = this.store.noticesAfter(this.told, EVENTS_AT_ONCE_MAX);
    this.told = this.store.lastNotice();
    return rows.map((row) => ({ kind: 'notice', member: row.member, notice: this.viewOf(row) }));
  }

  private viewOf({ id, at, text, entry, read }: NoticeRow): NoticeView {
    const about = entry === null ? null : this.ledgerCases.entry(entry, false);
    const rejected = about?.state === 'rejected' ? about : null;
    const won =
      rejected?.other === undefined ? null : this.ledgerCases.entry(rejected.other as EntryId, false);
    return {
      id,
      at,
      // Without what concerns persons: names are those that this node may read now, not those of then.
      text: `${rejected ? `${rejected.says}. ` : ''}${text}${won ? ` What won: ${won.says}.` : ''}`,
      entry,
      code: rejected?.code ?? null,
      other: rejected?.other ?? null,
      read,
    };
  }
}
