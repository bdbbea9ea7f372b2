/** What people can do on `main`, use case by use case: each part made once, and given what it needs of the others. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { GateLogger } from '../gate/link.js';
import type { EntryId } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Bulletin } from './bulletin.js';
import type { Clock } from './clock.js';
import { addressOf, type NodeConfig } from './config.js';
import { Doors } from './doors.js';
import type { Events } from './events.js';
import type { ReadObject } from './fork-merges.js';
import { Forks } from './forks.js';
import { Gigs } from './gigs.js';
import type { KeyStore, NodeKeys } from './key-files.js';
import { LedgerCases } from './ledger-cases.js';
import type { MainLine } from './main-line.js';
import { MemberKeys } from './member-keys.js';
import { Members } from './members.js';
import { Money } from './money.js';
import { Names } from './names.js';
import type { NodeInvitations } from './node-invitations.js';
import { Nodes } from './nodes.js';
import { Notices } from './notices.js';
import type { Peering } from './peering.js';
import { People } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Readiness } from './readiness.js';
import type { RecordKeeper } from './record-keeper.js';
import { Records } from './records.js';
import { Sessions } from './sessions.js';
import { Standing } from './standing.js';
import { StateChanges } from './state-changes.js';
import type { View } from './view.js';

/** Entries of one merge that are told one by one to those who listen. */
const EVENTS_OF_MERGE_MAX = 200;

export interface TownCasesParts {
  readonly folder: string;
  readonly store: Store;
  readonly keys: NodeKeys;
  readonly keyStore: KeyStore;
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly logger: GateLogger;
  /** The address of the panel, once it listens. */
  readonly url: () => string;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly manifests: Manifests;
  readonly readObject: ReadObject;
  readonly records: PrivateRecords;
  readonly recordKeeper: RecordKeeper;
  readonly invitations: NodeInvitations;
  readonly peering: Peering;
  readonly readiness: Readiness;
  readonly bulletin: Bulletin;
  readonly events: Events;
  /** Puts what is durable into git now, or soon. */
  readonly flush: () => Promise<void>;
  readonly scheduleFlush: () => void;
}

export class TownCases {
  readonly sessions: Sessions;
  readonly nodes: Nodes;
  readonly people: People;
  readonly doors: Doors;
  readonly members: Members;
  readonly money: Money;
  readonly standing: Standing;
  readonly records: Records;
  readonly gigs: Gigs;
  readonly ledger: LedgerCases;
  readonly forks: Forks;
  readonly notices: Notices;
  readonly memberKeys: MemberKeys;

  constructor(private readonly parts: TownCasesParts) {
    const { store, main, view, appender, records, keyStore, keys, clock, config, url } = parts;
    const { events, logger, manifests, readObject } = parts;
    const settled = (): Promise<void> => parts.readiness.settled();
    const names = new Names(view, records, keyStore);
    const sessions = (this.sessions = new Sessions(keyStore, main, view, clock));
    this.nodes = this.makeNodes(settled);
    const people = new People(view, main, appender, records, names, sessions, keys, clock);
    this.people = people;
    this.doors = new Doors({
      ...{
        store,
        main,
        view,
        appender,
        records,
        names,
        people,
        sessions,
        events,
        keys,
        clock,
        config,
        logger,
      },
      gateFolder: join(parts.folder, 'gate'),
    });
    this.members = new Members({
      ...{ store, main, view, appender, records, names, people, sessions, keyStore, keys, clock, url },
    });
    this.money = new Money({
      ...{ main, view, appender, records, names, sessions, keyStore, keys, clock, settled },
    });
    this.standing = new Standing({ view, appender, records, sessions, clock, settled });
    this.records = new Records({
      ...{ main, view, appender, sessions, people, keys, settled },
      keeper: parts.recordKeeper,
    });
    this.gigs = new Gigs(view, main, appender, names, sessions, clock);
    const conversations = () => view.conversations;
    const changes = new StateChanges({ store, main, manifests, conversations, readObject });
    this.ledger = new LedgerCases(store, main, view, records, names, sessions, changes);
    this.forks = this.makeForks();
    this.notices = new Notices(store, sessions, this.ledger);
    this.memberKeys = new MemberKeys({ store, main, view, appender, sessions, keyStore, keys, clock });
  }

  private makeNodes(settled: () => Promise<void>): Nodes {
    const { store, main, view, appender, keyStore, keys, clock, config } = this.parts;
    const { peering, bulletin, invitations } = this.parts;
    return new Nodes({
      ...{ store, main, view, appender, keyStore, keys, clock, invitations, settled },
      sessions: this.sessions,
      peers: {
        views: () => peering.views(),
        broker: () => bulletin.broker(),
        brokerAddress: () => (config.broker ? addressOf(config.broker) : bulletin.broker().url),
        otherBrokerAddresses: () => (config.otherBrokers ?? []).map(addressOf),
        refusals: () => peering.refusals(),
        syncNow: () => peering.syncNow(),
      },
      random: randomBytes,
      changed: () => bulletin.nodesChanged(),
    });
  }

  private makeForks(): Forks {
    const { sessions } = this;
    const { store, main, view, appender, records, keyStore, keys, clock } = this.parts;
    const { bulletin, manifests, readObject, flush } = this.parts;
    return new Forks({
      ...{ store, keys, clock, main, manifests, view, appender, sessions, keyStore, readObject, flush },
      contracts: view.conversations,
      namesOn: (fork) => new Names(fork.view, records, keyStore),
      tell: async (fork, row, open) => {
        const onFork = new Names(fork.view, records, keyStore);
        return new LedgerCases(store, fork.line, fork.view, records, onFork, sessions).entryView(row, open)
          .says;
      },
      changed: (entries) => {
        this.parts.scheduleFlush();
        this.tellEntries(entries);
      },
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
    });
  }

  /** Tells those who listen how these entries stand now: the first of them, where they are many. */
  tellEntries(ids: readonly EntryId[]): void {
    const { events } = this.parts;
    // Telling costs: where nobody listens, as while catching up, nothing is told.
    if (!events.isHeard) return;
    for (const id of ids.slice(0, EVENTS_OF_MERGE_MAX)) {
      const entry = this.ledger.recentEntry(id, true);
      if (entry) events.emit({ kind: 'entry', entry });
    }
  }
}
