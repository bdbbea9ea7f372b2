/** @jsxImportSource preact */
import { counted } from '../format.js';
import { useNotices } from '../notices.js';
import { hrefOf } from '../router.js';
import type { Notice } from '../shapes.js';
import { Problem } from './problem.js';
import { TimeAgo } from './time-ago.js';

const bannerMost = 3;

/** Notices, each with its entry, and the one that won over it. */
export function NoticeList({ notices }: { notices: readonly Notice[] }) {
  return (
    <ul class="notices">
      {notices.map((notice) => (
        <li key={notice.id} class={notice.code === null ? '' : 'rejected'}>
          <p>
            {!notice.read && <strong class="new">New: </strong>}
            {notice.text}
          </p>
          <p class="notice-links small">
            <span class="muted">
              <TimeAgo at={notice.at} />
            </span>
            {notice.entry !== null && <a href={hrefOf({ page: 'entry', id: notice.entry })}>See the entry</a>}
            {notice.other !== null && (
              <a href={hrefOf({ page: 'entry', id: notice.other })}>See the one that won</a>
            )}
          </p>
        </li>
      ))}
    </ul>
  );
}

/** What one has not read yet, where one comes by anyway. Nothing where there is nothing. */
export function NoticeBanner() {
  const { items, unread, read } = useNotices();
  const fresh = items.filter((each) => !each.read);
  const left = unread - Math.min(fresh.length, bannerMost);
  return (
    <div role="status">
      {fresh.length > 0 && (
        <section
          class={`notice banner ${fresh.some((each) => each.code !== null) ? 'bad' : ''}`}
          aria-label="What you have not read yet"
        >
          <NoticeList notices={fresh.slice(0, bannerMost)} />
          <Problem error={read.error} />
          <div class="row">
            <button type="button" disabled={read.busy} onClick={() => void read.run()}>
              I have read {unread === 1 ? 'it' : 'them'}
            </button>
            {left > 0 && <a href={hrefOf({ page: 'you' })}>{counted(left, 'more notice')}</a>}
          </div>
        </section>
      )}
    </div>
  );
}
