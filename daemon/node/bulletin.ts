/** What the node tells everybody who looks: its status, its alarms, and that something about the nodes has changed. */
import { mayBeOff, quorumOf } from '../consensus/quorum.js';
import type { GateHello, GateLogger } from '../gate/link.js';
import type { NodeId } from '../ledger/ids.js';
import { suspensionOf } from '../ledger/suspended-dapps.js';
import type { Store } from '../store/store.js';
import type { BrokerState } from '../sync/transport.js';
import type { Clock } from './clock.js';
import type { NodeConfig } from './config.js';
import type { Events } from './events.js';
import type { Alarm } from './height-work.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import type { NodesView } from './node-cases.js';
import type { Peering } from './peering.js';
import type { Readiness } from './readiness.js';
import type { NextMergeView, StatusView } from './use-cases.js';

const PEERS_TELL_MS = 1_000;

export interface BulletinParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly events: Events;
  readonly logger: GateLogger;
  readonly version: string;
  readonly readiness: Readiness;
  readonly peering: () => Peering;
  readonly brokerPort: () => number | null;
  /** Why the broker is not reached. */
  readonly brokerTrouble: () => string | null;
  /** How each broker stands, where there are several. */
  readonly brokerStates: () => readonly BrokerState[];
  readonly gate: () => GateHello | null;
  readonly isMerging: () => boolean;
  readonly heightAtWork: () => Merger['heightAtWork'];
  readonly needsSetup: () => boolean;
}

export class Bulletin {
  private readonly startedAt: number;
  /** Why nothing is merged, or the dapps do not run; it ends when they do. */
  private alarm: Alarm | null = null;
  /** The last that peering found and a person has to look at; it stays until the next start. */
  private trouble: Alarm | null = null;
  /** Why the dapps run without isolation. */
  private warning: string | null = null;
  private cancelTold: (() => void) | null = null;
  private toldNodes = '';

  constructor(private readonly parts: BulletinParts) {
    this.startedAt = parts.clock.now();
  }

  setAlarm(alarm: Alarm | null): void {
    if (alarm?.code === this.alarm?.code && alarm?.message === this.alarm?.message) return;
    this.alarm = alarm;
    if (alarm) this.parts.logger.warn({ code: alarm.code }, alarm.message);
    this.tell();
  }

  setTrouble(trouble: Alarm): void {
    if (this.trouble?.message === trouble.message) return;
    this.parts.logger.warn({ code: trouble.code }, trouble.message);
    this.trouble = trouble;
    this.tell();
  }

  setWarning(warning: string | null): void {
    this.warning = warning;
    this.tell();
  }

  /** The peers told something: passed on at most once a second, and only what people would see. */
  peersChanged(): void {
    this.cancelTold ??= this.parts.clock.after(PEERS_TELL_MS, () => {
      this.cancelTold = null;
      const peering = this.parts.peering();
      const seen = peering.views().map(({ heardAt: _, ...view }) => view);
      const { nodes, validators } = this.parts.main.charter;
      const text = JSON.stringify([peering.isOnline, this.broker(), seen, nodes, validators]);
      if (text === this.toldNodes) return;
      this.toldNodes = text;
      this.parts.events.emit({ kind: 'nodes' });
      this.tell();
    });
  }

  /** What people are shown of the nodes has changed beside what the peers tell. */
  nodesChanged(): void {
    this.toldNodes = '';
    this.peersChanged();
  }

  stop(): void {
    this.cancelTold?.();
  }

  /** The status, to those who listen. */
  tell(): void {
    if (this.parts.events.isHeard) this.parts.events.emit({ kind: 'status', status: this.status() });
  }

  broker(): NodesView['broker'] {
    const { config } = this.parts;
    const port = this.parts.brokerPort();
    const embedded = config.broker === undefined && port !== null;
    const url = config.broker?.url ?? (port === null ? null : `mqtt://127.0.0.1:${port}`);
    const states = this.parts.brokerStates();
    const [own] = states;
    if (own === undefined)
      return { url, embedded, connected: this.parts.peering().isOnline, error: this.brokerError };
    const others = (config.otherBrokers ?? []).map((other, index) => ({
      url: other.url,
      connected: states[index + 1]?.connected ?? false,
      error: states[index + 1]?.trouble ?? null,
    }));
    return { url, embedded, connected: own.connected, error: own.trouble, others };
  }

  private get brokerError(): string | null {
    return this.parts.peering().isOnline ? null : this.parts.brokerTrouble();
  }

  private next(heard: ReadonlySet<string>): NextMergeView {
    const { store, main, keys } = this.parts;
    const { nodes, validators } = main.charter;
    const work = this.parts.heightAtWork();
    const nameOf = (id: string): string => nodes[id]?.name ?? id;
    const waits = store.pendingCount() > 0 ? 'due' : 'nothing';
    const atWork = work === null ? waits : work.parkedSince === null ? 'open' : 'parked';
    return {
      state: main.divergedFrom ? 'diverged' : atWork,
      epoch: main.epoch,
      round: work?.round ?? null,
      parkedSince: work?.parkedSince ?? null,
      connected: [...heard].map(nameOf),
      away: validators.filter((id) => id !== keys.id && !heard.has(id)).map(nameOf),
    };
  }

  status(): StatusView {
    const { store, keys, config, version, main, readiness } = this.parts;
    const { charter, head } = main;
    const { vault, members, locked, allowances, suspense } = main.totals;
    const count = charter.validators.length;
    const gate = this.parts.gate();
    const { driver, isReady } = readiness;
    const peers = this.parts.peering().views();
    const heard = new Set(peers.filter(({ connected }) => connected).map(({ node }) => node));
    const brokerPort = this.parts.brokerPort();
    return {
      town: { id: main.town, name: charter.name, preset: charter.preset },
      node: { id: keys.id, name: charter.nodes[keys.id]?.name ?? config.nodeName },
      version,
      needsSetup: this.parts.needsSetup(),
      ...(main.ahead ? { catchingUp: { height: main.ahead.head.height } } : {}),
      height: head.height,
      main: head.oid,
      pendingEntries: store.pendingCount(),
      merging: this.parts.isMerging(),
      alarm: this.alarm ?? this.trouble,
      gate: { connected: gate !== null, board: gate?.board ?? null, simulated: gate?.simulated ?? false },
      dapps: {
        driver: driver?.kind ?? 'starting',
        isolated: driver?.isolated ?? false,
        ready: isReady,
        list: charter.dapps.map(({ name, version: v, digest }) => {
          const suspended = suspensionOf(main.state, charter, name)?.reason ?? null;
          return { name, version: v, digest, suspended };
        }),
        warning: this.warning,
      },
      broker: { listening: brokerPort !== null, port: brokerPort },
      supply: { total: charter.supply, vault, members, locked, allowances, suspense },
      validators: {
        count,
        quorum: quorumOf(count, charter.quorum),
        mayBeOff: mayBeOff(count, charter.quorum),
        heard: charter.validators.filter((id) => id === keys.id || heard.has(id as NodeId)).length,
      },
      peers: { count: peers.length, connected: heard.size },
      next: this.next(heard),
      startedAt: this.startedAt,
    };
  }
}
