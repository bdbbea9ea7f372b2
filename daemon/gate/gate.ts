/**
 * The gate: from a badge to a strike. Decides by the rights table it holds, sees that the record becomes durable,
 * and moves the strike, within bounds. Knows nothing of sockets and processes; `server.ts` and `main.ts` do.
 */
import { randomBytes } from 'node:crypto';
import { TownError } from '../ledger/ids.js';
import { badgeHash } from './badge-number.js';
import type { Board, BoardEvents, Read } from './board.js';
import { decide, type Decision } from './decide.js';
import type { Outbox } from './outbox.js';
import type { DoorWiring, FromGate, GateConfig, GateRecord, RightsTable } from './shapes.js';
import { Strikes } from './strikes.js';

/** Decisions whose records are not durable yet; beyond it simulated taps are refused, real reads dropped and told. */
const decisionsMax = 256;

export interface GatePorts {
  readonly outbox: Outbox;
  readonly openBoard: (config: GateConfig, events: BoardEvents) => Promise<Board>;
  readonly saveConfig: (config: GateConfig) => Promise<void>;
  readonly saveRights: (table: RightsTable) => Promise<void>;
  /** To the daemon, if there is one; live news only. */
  readonly tell: (message: FromGate) => void;
  readonly problem: (code: string, message: string) => void;
  /** Wall clock, ms. */
  readonly now: () => number;
  /** For how long the daemon has been away (ms); null: it is there. */
  readonly awayMs: () => number | null;
}

export class Gate {
  readonly instance = randomBytes(8).toString('hex');
  #config: GateConfig = { board: 'simulated', doors: [], durableWaitMs: 150, lastTableMs: 0 };
  #table: RightsTable | null = null;
  #board: Board | null = null;
  #strikes: Strikes | null = null;
  #records = 0;
  #deciding = 0;
  #work: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(private readonly ports: GatePorts) {}

  get config(): GateConfig {
    return this.#config;
  }

  get tableVersion(): number {
    return this.#table?.version ?? 0;
  }

  get board(): Board | null {
    return this.#board;
  }

  /** Starts from what the files held. A board that does not open is a problem told, not the end of the gate. */
  async start(config: GateConfig | null, table: RightsTable | null): Promise<void> {
    this.#table = table;
    if (config === null) return;
    await this.#use(config).catch((error: unknown) => this.ports.problem('board-failed', String(error)));
  }

  /** New hardware settings: strikes off, the new board opened, then kept on disk. Throws `board-failed` and others. */
  configure(config: GateConfig): Promise<void> {
    return this.#serial(async () => {
      const before = this.#board === null ? null : this.#config;
      if (JSON.stringify(config) === JSON.stringify(before)) return;
      try {
        await this.#use(config);
      } catch (error) {
        // Settings that do not work must not take the doors away that did.
        if (before !== null)
          await this.#use(before).catch((again: unknown) =>
            this.ports.problem('board-failed', String(again)),
          );
        throw error;
      }
      await this.ports.saveConfig(config);
    });
  }

  /** A new rights table: holds at once, and is on disk when this resolves. Throws `older-table`. */
  setRights(table: RightsTable): Promise<void> {
    if (this.#table !== null && this.#table.town === table.town && table.version < this.#table.version)
      return Promise.reject(
        new TownError(
          'older-table',
          `Table ${table.version} is older than table ${this.#table.version}, which this gate has.`,
        ),
      );
    this.#table = table;
    // Of several that wait, only the newest needs to reach the disk.
    return this.#serial(async () => {
      if (this.#table !== null) await this.ports.saveRights(this.#table);
    });
  }

  /** A badge at a simulated reader. Resolves to the record when it is durable or the wait for that is over. */
  async tap(door: string, badgeNumber: string): Promise<GateRecord> {
    const wiring = this.#wiring(door);
    if (wiring !== undefined && wiring.reader.kind !== 'simulated')
      throw new TownError('real-reader', `The door ${door} has a real reader.`, 'Hold the badge to it.');
    if (this.#deciding >= decisionsMax)
      throw new TownError('gate-busy', 'Too many badges at once.', 'Try again in a moment.');
    return await this.#decide(door, { number: badgeNumber });
  }

  /** Opens a door at a person's request, at once. Throws `unknown-door`. */
  open(door: string, by: string): GateRecord {
    const wiring = this.#wiring(door);
    if (wiring === undefined) throw new TownError('unknown-door', `This gate has no door "${door}".`);
    return this.#openAtOnce(wiring, { kind: 'open', code: 'remote-open', by });
  }

  /** Every strike off, synchronously; for the last moment of the process. */
  strikesOff(): void {
    this.#stopped = true;
    this.#strikes?.allOff(this.#config.doors);
    this.#board?.close();
  }

  #wiring(door: string): DoorWiring | undefined {
    return this.#config.doors.find((wiring) => wiring.id === door);
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => undefined);
    return result;
  }

  async #use(config: GateConfig): Promise<void> {
    this.#strikes?.allOff(this.#config.doors);
    this.#board?.close();
    this.#board = null;
    this.#strikes = null;
    this.#config = config;
    const board = await this.ports.openBoard(config, {
      exit: (door) => this.#exit(door),
      read: (door, read) => this.#read(door, read),
      problem: this.ports.problem,
    });
    if (this.#stopped) {
      board.close();
      return;
    }
    this.#board = board;
    this.#strikes = new Strikes(
      board,
      (move) => this.ports.tell({ t: 'strike', ...move, at: this.ports.now() }),
      (message) => this.ports.problem('strike-failed', message),
    );
  }

  #read(door: string, read: Read): void {
    if (this.#deciding >= decisionsMax) {
      this.ports.problem('gate-busy', `A badge at ${door} was not looked at: too many at once.`);
      return;
    }
    void this.#decide(door, read).catch((error: unknown) => this.ports.problem('gate-failed', String(error)));
  }

  #exit(door: string): void {
    const wiring = this.#wiring(door);
    if (wiring !== undefined) this.#openAtOnce(wiring, { kind: 'exit', code: 'exit-button' });
  }

  async #decide(door: string, read: Read): Promise<GateRecord> {
    const now = this.ports.now();
    const away = this.ports.awayMs();
    const badRead = 'badRead' in read;
    const hash = !badRead && this.#table !== null ? badgeHash(this.#table.badgeKey, read.number) : null;
    const decision = decide({
      table: this.#table,
      door,
      badge: badRead ? 'bad-read' : hash,
      now,
      daemonAwaySince: away === null ? null : now - away,
      config: this.#config,
    });
    const record = this.#record(door, now, {
      kind: 'tap',
      ...decision,
      ...(hash === null ? {} : { badge: hash }),
    });
    this.#deciding += 1;
    try {
      await this.#carryOut(record, decision, this.#wiring(door));
    } finally {
      this.#deciding -= 1;
    }
    return record;
  }

  /** Moves the strike when the record is durable, or when the time to wait for that is over. */
  async #carryOut(record: GateRecord, decision: Decision, wiring: DoorWiring | undefined): Promise<void> {
    const started = performance.now();
    const durable = await withinMs(this.ports.outbox.keep(record), this.#config.durableWaitMs);
    const granted = decision.outcome === 'granted' && wiring !== undefined;
    if (granted) this.#energise(wiring, record.id);
    if (durable === true) return;
    this.ports.outbox.stalled(record.id);
    if (!granted) return;
    const waitedMs = Math.round(performance.now() - started);
    void this.ports.outbox.keep(
      this.#record(record.door, this.ports.now(), {
        kind: 'late',
        outcome: record.outcome,
        code: record.code,
        of: record.id,
        waitedMs,
      }),
    );
  }

  #openAtOnce(wiring: DoorWiring, what: Pick<GateRecord, 'kind' | 'code' | 'by'>): GateRecord {
    const record = this.#record(wiring.id, this.ports.now(), { ...what, outcome: 'granted' });
    this.#energise(wiring, record.id);
    void withinMs(this.ports.outbox.keep(record), this.#config.durableWaitMs).then((durable) => {
      if (durable !== true) this.ports.outbox.stalled(record.id);
    });
    return record;
  }

  #energise(wiring: DoorWiring, record: string): void {
    if (this.#stopped) return;
    // After a change of the hardware settings the old wiring may name another door's line.
    if (this.#strikes === null || !this.#config.doors.includes(wiring))
      this.ports.problem('no-board', `The strike of ${wiring.id} did not move: its board is not open.`);
    else this.#strikes.pulse(wiring, record);
  }

  #record(door: string, at: number, what: Omit<GateRecord, 'id' | 'at' | 'door' | 'table'>): GateRecord {
    this.#records += 1;
    return { id: `${this.instance}-${this.#records}`, at, door, ...what, table: this.tableVersion };
  }
}

/** The value, or null when it takes longer. */
function withinMs<T>(value: Promise<T>, ms: number): Promise<T | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), ms);
    void value.then((result) => {
      clearTimeout(timer);
      resolve(result);
    });
  });
}
