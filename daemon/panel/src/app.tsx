/** @jsxImportSource preact */
/** Which page is shown, to whom; around it the frame. */
import { useEffect, useState } from 'preact/hooks';
import { Frame } from './frame.js';
import { useTown } from './live-town.js';
import { NoticesProvider } from './notices.js';
import { BankPage } from './pages/bank.js';
import { DoorsPage } from './pages/doors.js';
import { EntryPage } from './pages/entry.js';
import { FirstHerePage } from './pages/first-here.js';
import { GigsPage } from './pages/gigs.js';
import { HomePage } from './pages/home.js';
import { JoinPage } from './pages/join.js';
import { LedgerPage } from './pages/ledger.js';
import { MergePage } from './pages/merge.js';
import { NodesPage } from './pages/nodes.js';
import { PeoplePage } from './pages/people.js';
import { SetupPage } from './pages/setup.js';
import { SignInPage } from './pages/sign-in.js';
import { TownHallPage } from './pages/town-hall.js';
import { UnknownPage } from './pages/unknown.js';
import { UnreachablePage } from './pages/unreachable.js';
import { YouPage } from './pages/you.js';
import { routeOf, type Route } from './router.js';

function useRoute(): Route {
  const [route, setRoute] = useState(() => routeOf(location));
  useEffect(() => {
    const changed = () => setRoute(routeOf(location));
    addEventListener('hashchange', changed);
    addEventListener('popstate', changed);
    return () => {
      removeEventListener('hashchange', changed);
      removeEventListener('popstate', changed);
    };
  }, []);
  return route;
}

export function App() {
  const route = useRoute();
  return (
    <NoticesProvider>
      <Frame route={route}>
        <Shown route={route} />
      </Frame>
    </NoticesProvider>
  );
}

function Shown({ route }: { route: Route }) {
  const { session, unreachable, status } = useTown();
  if (route.page === 'setup') return <SetupPage token={route.token} />;
  if (route.page === 'join') return <JoinPage code={route.code} />;
  if (route.page === 'first-here' && session === null) return <FirstHerePage />;
  if (unreachable && status === null) return <UnreachablePage />;
  if (session === undefined) return <p class="muted">One moment…</p>;
  if (session === null) return <SignInPage />;
  switch (route.page) {
    case 'home':
      return <HomePage />;
    case 'people':
      return <PeoplePage />;
    case 'doors':
      return <DoorsPage />;
    case 'gigs':
      return <GigsPage />;
    case 'bank':
      return <BankPage />;
    case 'nodes':
      return <NodesPage />;
    case 'town-hall':
      return <TownHallPage />;
    case 'ledger':
      return <LedgerPage key={route.tab} tab={route.tab} />;
    case 'merge':
      return <MergePage key={route.id} id={route.id} />;
    case 'entry':
      return <EntryPage key={route.id} id={route.id} />;
    case 'you':
      return <YouPage />;
    case 'first-here':
      return <YouPage />;
    case 'unknown':
      return <UnknownPage />;
  }
}
