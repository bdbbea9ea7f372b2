/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { counted, credits, number } from '../format.js';
import { useLoaded } from '../loading.js';
import { mayDo, useEvents, useTown } from '../live-town.js';
import { TownMap } from '../map/town-map.js';
import { quorumIsThere } from '../node-words.js';
import type { Door, DoorEvent, Gig, Member, Person, Status } from '../shapes.js';
import { NoticeBanner } from '../widgets/notice-list.js';
import { PageHead } from '../widgets/page-head.js';
import { TimeAgo } from '../widgets/time-ago.js';
import { doorReason, doorWho } from '../words.js';

/** The map, with what is going on in town right now. */
export function HomePage() {
  const { status, session } = useTown();
  const doors = useLoaded<readonly Door[]>('/doors', ['door']).value;
  const people = useLoaded<readonly Person[]>(mayDo(session, 'membership.add') ? '/people' : null, [
    'entry',
    'merge',
  ]).value;
  const gigs = useLoaded<readonly Gig[]>('/gigs', ['entry', 'merge']).value;
  const members = useLoaded<readonly Member[]>('/members', ['entry', 'merge']).value;
  const strikes = useStrikes(doors);
  const last = latestEvent(doors);

  const own = members?.find((each) => each.id === session?.member);
  const badges =
    people?.flatMap((each) => each.badges).filter((each) => each.status === 'active').length ?? 0;
  const open = gigs?.filter((each) => each.status === 'open').length ?? 0;

  return (
    <>
      <PageHead title={status?.town.name ?? 'The town'} lead="Every building is a place of work. Walk in." />
      <NoticeBanner />
      <TownMap
        gateOpen={strikes}
        powered={status === null || quorumIsThere(status.validators)}
        alarm={status?.alarm !== null && status !== null}
        facts={{
          doors: doors && (last ? <LastEvent event={last} /> : counted(doors.length, 'door')),
          people:
            people === null
              ? !mayDo(session, 'membership.add') && 'Kept by the stewards'
              : `${counted(people.length, 'person', 'people')}, ${counted(badges, 'badge')} in use`,
          gigs: gigs && (open === 0 ? 'No open gigs' : counted(open, 'open gig')),
          bank: own ? ownFact(own) : members && counted(members.length, 'member'),
          townHall: status && hallFact(status.alarm !== null, status.dapps.ready, status.dapps.isolated),
          nodes: status && nodesFact(status),
          ledger:
            status &&
            `Height ${number(status.height)}, ${
              status.pendingEntries === 0 ? 'all merged' : `${number(status.pendingEntries)} pending`
            }`,
        }}
      />
    </>
  );
}

const ownFact = ({ balance, incoming }: Member): string =>
  `You have ${credits(balance)}${incoming ? `, ${number(incoming)} pending` : ''}`;

function hallFact(alarm: boolean, ready: boolean, isolated: boolean): string {
  if (alarm) return 'Alarm: come in';
  if (!ready) return 'The dapps are starting';
  return isolated ? 'All is well' : 'Dapps are not isolated';
}

function nodesFact({ peers, validators }: Status): string {
  if (!quorumIsThere(validators)) return 'Too few boards to merge';
  return peers.count === 0
    ? 'One board'
    : `${number(peers.connected + 1)} of ${counted(peers.count + 1, 'board')} here`;
}

function LastEvent({ event }: { event: DoorEvent }) {
  return (
    <span class={event.outcome === 'granted' ? 'good-text' : 'bad-text'}>
      {doorWho(event)} {event.outcome === 'granted' ? 'let in' : 'refused'}, <TimeAgo at={event.at} />
      {event.outcome === 'refused' && <span class="unseen">: {doorReason(event)}</span>}
    </span>
  );
}

const latestEvent = (doors: readonly Door[] | null): DoorEvent | null =>
  (doors ?? [])
    .flatMap((door) => (door.last === null ? [] : [door.last]))
    .reduce<DoorEvent | null>((best, each) => (best === null || each.at > best.at ? each : best), null);

/** Whether any strike is on now. */
function useStrikes(doors: readonly Door[] | null): boolean {
  const [on, setOn] = useState<{ readonly [door: string]: boolean }>({});
  useEvents(['strike'], (event) => {
    if (event.kind === 'strike') setOn((old) => ({ ...old, [event.door]: event.on }));
  });
  return (doors ?? []).some((door) => on[door.id] ?? door.strikeOn);
}
