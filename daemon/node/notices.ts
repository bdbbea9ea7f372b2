/** What members are told, told to them. */
import type { EntryId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { NoticeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { LedgerCases } from './ledger-cases.js';
import type { NoticesView, NoticeView } from './notice-cases.js';
import type { Sessions } from './sessions.js';
import type { EntryView, TownEvent } from './use-cases.js';

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
  async list(token: string, { limit }: { limit: number }): Promise<NoticesView> {
    const { member } = this.sessions.need(token);
    const rows = this.store.notices(member, Math.min(Math.max(limit, 1), LIST_MAX));
    const entry = (id: EntryId): Promise<EntryView | null> => this.ledgerCases.entry(id, false);
    return {
      items: await Promise.all(
        rows.map(async (row) => {
          const about = row.entry === null ? null : await entry(row.entry);
          const other = about?.state === 'rejected' ? about.other : undefined;
          return viewOf(row, about, other === undefined ? null : await entry(other as EntryId));
        }),
      ),
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
    const entry = (id: EntryId): EntryView | null => this.ledgerCases.recentEntry(id, false);
    return rows.map((row) => {
      const about = row.entry === null ? null : entry(row.entry);
      const won = about?.other === undefined ? null : entry(about.other as EntryId);
      return { kind: 'notice', member: row.member, notice: viewOf(row, about, won) };
    });
  }
}

/** @param about the entry that it is about, @param won the one that won over it, as far as they are known */
function viewOf(
  { id, at, text, entry, read }: NoticeRow,
  about: EntryView | null,
  won: EntryView | null,
): NoticeView {
  const rejected = about?.state === 'rejected' ? about : null;
  return {
    id,
    at,
    // Without what concerns persons: names are those that this node may read now, not those of then.
    text: `${rejected ? `${rejected.says}. ` : ''}${text}${rejected && won ? ` What won: ${won.says}.` : ''}`,
    entry,
    code: rejected?.code ?? null,
    other: rejected?.other ?? null,
    read,
  };
}
