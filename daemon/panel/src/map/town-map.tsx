/** @jsxImportSource preact */
/** The map of the town: seven buildings that are links, each with one live fact on its sign. */
import type { ComponentChildren } from 'preact';
import { hrefOf } from '../router.js';
import { Bank, Gatehouse, JobBoard, PostOffice, PowerHouse, RegistryOffice, TownHall } from './buildings.js';
import { TallLandscape, WideLandscape } from './landscape.js';

/** One short live sentence for each place; null while it is not known. */
export interface TownFacts {
  readonly doors: ComponentChildren;
  readonly people: ComponentChildren;
  readonly gigs: ComponentChildren;
  readonly bank: ComponentChildren;
  readonly townHall: ComponentChildren;
  readonly nodes: ComponentChildren;
  readonly ledger: ComponentChildren;
}

interface TownMapProps {
  readonly facts: TownFacts;
  /** A strike is on. */
  readonly gateOpen: boolean;
  readonly alarm: boolean;
  /** Enough validators are heard: there is light in the power house. */
  readonly powered: boolean;
}

export function TownMap({ facts, gateOpen, alarm, powered }: TownMapProps) {
  return (
    <nav class="map" aria-label="Map of the town">
      <WideLandscape />
      <TallLandscape />
      <ul>
        <Place
          at="registry"
          href={hrefOf({ page: 'people' })}
          name="Registry office"
          what="People and badges"
          fact={facts.people}
        >
          <RegistryOffice />
        </Place>
        <Place
          at="hall"
          href={hrefOf({ page: 'town-hall' })}
          name="Town hall"
          what="Charter and status"
          fact={facts.townHall}
        >
          <TownHall alarm={alarm} />
        </Place>
        <Place
          at="bank"
          href={hrefOf({ page: 'bank' })}
          name="Bank"
          what="Credits and members"
          fact={facts.bank}
        >
          <Bank />
        </Place>
        <Place at="gate" href={hrefOf({ page: 'doors' })} name="Gatehouse" what="Doors" fact={facts.doors}>
          <Gatehouse open={gateOpen} />
        </Place>
        <Place at="board" href={hrefOf({ page: 'gigs' })} name="Job board" what="Gigs" fact={facts.gigs}>
          <JobBoard />
        </Place>
        <Place at="power" href={hrefOf({ page: 'nodes' })} name="Power house" what="Nodes" fact={facts.nodes}>
          <PowerHouse lit={powered} />
        </Place>
        <Place
          at="post"
          href={hrefOf({ page: 'ledger', tab: 'merges' })}
          name="Post office"
          what="Ledger"
          fact={facts.ledger}
        >
          <PostOffice />
        </Place>
      </ul>
    </nav>
  );
}

interface PlaceProps {
  readonly at: string;
  readonly href: string;
  readonly name: string;
  readonly what: string;
  readonly fact: ComponentChildren;
  readonly children: ComponentChildren;
}

function Place({ at, href, name, what, fact, children }: PlaceProps) {
  return (
    <li class={`place place-${at}`}>
      <a href={href}>
        <svg viewBox="0 -18 200 178" aria-hidden="true">
          {children}
        </svg>
        <span class="sign">
          <strong>{name}</strong>
          <span class="what">{what}</span>
          <span class="fact">{fact}</span>
        </span>
      </a>
    </li>
  );
}
