/** @jsxImportSource preact */
/** What stands around every page: the town's sign, the ways, who is signed in, and what is wrong. */
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { counted, number } from './format.js';
import { currentLine, switchLine } from './line.js';
import { mayDo, useTown } from './live-town.js';
import { useNotices } from './notices.js';
import { hrefOf, type Route } from './router.js';
import { Outbox } from './widgets/outbox.js';

interface Way {
  readonly text: string;
  readonly href: string;
  readonly pages: readonly Route['page'][];
  /** Only for people with this permission. */
  readonly needs?: string;
}

const ways: readonly Way[] = [
  { text: 'Map', href: hrefOf({ page: 'home' }), pages: ['home'] },
  { text: 'Doors', href: hrefOf({ page: 'doors' }), pages: ['doors'] },
  { text: 'People', href: hrefOf({ page: 'people' }), pages: ['people'], needs: 'membership.add' },
  { text: 'Gigs', href: hrefOf({ page: 'gigs' }), pages: ['gigs'] },
  { text: 'Bank', href: hrefOf({ page: 'bank' }), pages: ['bank'] },
  { text: 'Ledger', href: hrefOf({ page: 'ledger', tab: 'merges' }), pages: ['ledger', 'merge', 'entry'] },
  { text: 'Nodes', href: hrefOf({ page: 'nodes' }), pages: ['nodes'] },
  { text: 'Town hall', href: hrefOf({ page: 'town-hall' }), pages: ['town-hall'] },
];

export function Frame({ route, children }: { route: Route; children: ComponentChildren }) {
  const { status, session } = useTown();
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(false), [route]);
  const shown = ways.filter(({ needs }) => needs === undefined || mayDo(session, needs));

  return (
    <>
      <a class="skip" href="#main" onClick={toMain}>
        Skip to the page
      </a>
      <header class="frame-head">
        <a class="town-sign" href={hrefOf({ page: 'home' })}>
          <svg viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
            <path class="mark-roof" d="M3 16.4 L16 4.2 L29 16.2 Z" />
            <path class="mark-wall" d="M6.5 15.8 H25.6 V28 H6.4 Z" />
            <path class="mark-door" d="M13 28 V21.5 A3 3 0 0 1 19 21.5 V28 Z" />
          </svg>
          <span>{status?.town.name ?? 'Mergetown'}</span>
        </a>
        {session && (
          <>
            <button
              type="button"
              class="menu-button"
              aria-expanded={open}
              aria-controls="ways"
              onClick={() => setOpen(!open)}
            >
              Menu
              <UnreadMark />
            </button>
            <nav id="ways" aria-label="Pages" class={open ? 'ways open' : 'ways'}>
              <ul>
                {shown.map(({ text, href, pages }) => (
                  <li key={href}>
                    <a href={href} aria-current={pages.includes(route.page) ? 'page' : undefined}>
                      {text}
                    </a>
                  </li>
                ))}
              </ul>
              <SignedIn here={route.page === 'you'} />
            </nav>
          </>
        )}
      </header>
      <OnDraft />
      <Warnings />
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      {session && <Outbox />}
      <Foot />
    </>
  );
}

function toMain(event: Event): void {
  // The address holds the page: an ordinary jump would lose it.
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function SignedIn({ here }: { here: boolean }) {
  const { session, signOut } = useTown();
  const { unread } = useNotices();
  if (!session) return null;
  return (
    <p class="signed-in">
      <a href={hrefOf({ page: 'you' })} aria-current={here ? 'page' : undefined}>
        {session.name}
        {unread > 0 && (
          <span class="unread">
            <span aria-hidden="true">{unread > 99 ? '99+' : unread}</span>
            <span class="unseen">: {counted(unread, 'unread notice')}</span>
          </span>
        )}
      </a>
      <button type="button" class="quiet small" onClick={() => void signOut()}>
        Sign out
      </button>
    </p>
  );
}

/** On a phone the name stands inside the menu: its mark is seen from outside. */
function UnreadMark() {
  const { unread } = useNotices();
  return unread === 0 ? null : (
    <span class="unread">
      <span aria-hidden="true">{unread > 99 ? '99+' : unread}</span>
      <span class="unseen">, {counted(unread, 'unread notice')}</span>
    </span>
  );
}

/** On which draft one works, wherever one is in the panel, and the way back. */
function OnDraft() {
  const { session } = useTown();
  const draft = currentLine();
  if (!session || draft === null) return null;
  return (
    <aside class="warnings" aria-label="Draft">
      <p class="notice wait">
        <strong>You work on the draft {draft}.</strong> People, members, credits, gigs and the charter are the
        draft’s; doors and all else are main’s.{' '}
        <button type="button" class="small" onClick={() => switchLine(null)}>
          Back to main
        </button>
      </p>
    </aside>
  );
}

/** Lost connection and alarms, wherever one is in the panel. */
function Warnings() {
  const { connection, status, session } = useTown();
  return (
    <div class="warnings">
      <div role="status">
        {session && connection === 'lost' && (
          <p class="notice wait">
            <strong>Connection lost.</strong> What you see may be out of date. The panel keeps trying; doors
            go on working by themselves.
          </p>
        )}
      </div>
      <div role="alert">
        {session && status?.alarm && (
          <p class="notice bad">
            <strong>Alarm: {status.alarm.message}</strong>{' '}
            <a href={hrefOf({ page: 'town-hall' })}>See the town hall</a>
          </p>
        )}
      </div>
    </div>
  );
}

function Foot() {
  const { status, connection, session } = useTown();
  return (
    <footer class="frame-foot">
      {status && (
        <p>
          <span class={`lamp ${connection === 'open' ? 'on' : ''}`} aria-hidden="true" />
          {session ? (connection === 'open' ? 'Live' : 'Not live') : 'Not signed in'} · height{' '}
          {number(status.height)} · {number(status.pendingEntries)} pending
          {status.merging ? ' · merging now' : ''}
        </p>
      )}
      <p>
        Mergetown {status?.version} · <a href="/docs">API</a> · <a href="/licences.txt">Licences</a>
      </p>
    </footer>
  );
}
