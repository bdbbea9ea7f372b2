/** The daemon's side of the gate: connects to it, starts it where there is none, and hands on what it tells. */
import { connect, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { gateSocketPath } from './folder.js';
import { LineReader } from './line-reader.js';
import { parseFromGate } from './parse.js';
import type { FromGate, GateConfig, GateRecord, RightsTable, ToGate } from './shapes.js';
import { gateScript, spawnGate } from './spawn-gate.js';

const answerWaitMs = 5_000;
/** Opening a board starts programs and loads native code, which a small board does slowly. */
const configWaitMs = 30_000;
const callsMax = 1024;
const deliveringMax = 20_000;
const rememberedMax = 20_000;
const backoffMsMin = 20;
const backoffMsMax = 1_000;
/** Another daemon has taken over: not before this does the link try again. */
const replacedMs = 5_000;
/** A connection that held this long was a good one: the next is tried at once. */
const goodConnectionMs = 5_000;
/** A gate that was just started needs this long at most to listen. */
const spawnAgainMs = 10_000;
const connectWaitMs = 2_000;

export type GateHello = Extract<FromGate, { t: 'hello' }>;
export type StrikeNews = Extract<FromGate, { t: 'strike' }>;

/** As much of a logger as the link needs; pino's is one. */
export interface GateLogger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

export interface GateLinkOptions {
  /** Start a gate where none answers; false: another supervisor (systemd) runs it. */
  readonly spawn: boolean;
  readonly logger: GateLogger;
  /** Name of this daemon, for the gate's log. */
  readonly daemon?: string;
  /** The gate's compiled program; default: the one beside this module. */
  readonly script?: string;
  /**
   * Makes a record durable; the gate is told when it resolves, and only then does the strike of a granted tap move.
   * Called once for each id while this process lives; after a restart a record may come again, with its old id.
   * Where it rejects, the record stays with the gate and comes again after a while.
   */
  readonly onRecord: (record: GateRecord) => Promise<void>;
  readonly onStrike?: (news: StrikeNews) => void;
  /** Connected, before config and rights are sent again. */
  readonly onHello?: (hello: GateHello) => void;
  readonly onLost?: () => void;
  /** The gate reports what nobody asked for: corrupt journal lines, a strike that did not move, records lost. */
  readonly onProblem?: (code: string, message: string) => void;
}

/** What a call without `ref` looks like. */
type Call =
  | Omit<Extract<ToGate, { t: 'config' }>, 'ref'>
  | Omit<Extract<ToGate, { t: 'rights' }>, 'ref'>
  | Omit<Extract<ToGate, { t: 'tap' }>, 'ref'>
  | Omit<Extract<ToGate, { t: 'open' }>, 'ref'>
  | Omit<Extract<ToGate, { t: 'stop' }>, 'ref'>;

interface Pending {
  readonly resolve: (record: GateRecord | undefined) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class GateLink {
  readonly #folder: string;
  #socket: Socket | null = null;
  #hello: GateHello | null = null;
  #started = false;
  #backoffMs = backoffMsMin;
  #retry: NodeJS.Timeout | null = null;
  #spawnedAt = -Infinity;
  #connectedAt = 0;
  #ref = 0;
  readonly #pending = new Map<number, Pending>();
  #config: GateConfig | null = null;
  #rights: RightsTable | null = null;
  readonly #delivering = new Set<string>();
  /** The latest ids that are durable: told again, not handed on again. */
  readonly #delivered = new Set<string>();
  #acks: string[] = [];

  /** `folder`: the gate's own, the same as its `--folder`. Does nothing until `start`. */
  constructor(
    folder: string,
    private readonly options: GateLinkOptions,
  ) {
    this.#folder = resolve(folder);
  }

  /** The gate that is connected, or null. */
  get hello(): GateHello | null {
    return this.#hello;
  }

  /** Begins to connect, and goes on trying until `stop`. Returns at once. Throws `socket-path-too-long`. */
  start(): void {
    if (this.#started) return;
    gateSocketPath(this.#folder);
    this.#started = true;
    this.#connect();
  }

  /**
   * Gives the gate its hardware settings. Remembered and given to every gate that connects later.
   * Resolves to `applied`, or to `queued` while none is connected. Throws what the gate says, e.g. `board-failed`.
   */
  async sendConfig(config: GateConfig): Promise<'applied' | 'queued'> {
    this.#config = config;
    return await this.#give({ t: 'config', config });
  }

  /** Gives the gate a rights table; as `sendConfig`. `applied`: it holds and is on the gate's disk. */
  async sendRights(table: RightsTable): Promise<'applied' | 'queued'> {
    this.#rights = table;
    return await this.#give({ t: 'rights', table });
  }

  /**
   * Holds a badge to a simulated reader; resolves to its record once decided and recorded.
   * Throws `gate-away`, `gate-silent`, `real-reader`, `gate-busy`.
   */
  async tap(door: string, badgeNumber: string): Promise<GateRecord> {
    if (!/^[\x21-\x7e]{1,64}$/.test(badgeNumber))
      throw new TownError(
        'bad-badge-number',
        'A badge number is 1 to 64 printable characters without spaces.',
      );
    return await this.#recordOf({ t: 'tap', door: doorOf(door), badgeNumber });
  }

  /** Opens a door at once; `by`: who asked. Throws `gate-away`, `gate-silent`, `unknown-door`. */
  async open(door: string, by: string): Promise<GateRecord> {
    return await this.#recordOf({ t: 'open', door: doorOf(door), by: by.slice(0, 200) });
  }

  /** Lets go of the gate; with `gateToo` sends it home first (waits 5 s at most). The link can be started again. */
  async stop({ gateToo }: { readonly gateToo: boolean }): Promise<void> {
    this.#started = false;
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (gateToo && this.#hello !== null)
      await this.#call({ t: 'stop' }).catch((error: unknown) =>
        this.options.logger.warn({ error: String(error) }, 'The gate did not confirm its stop.'),
      );
    const socket = this.#socket;
    if (socket === null) return;
    await new Promise<void>((closed) => {
      const timer = setTimeout(() => socket.destroy(), 500);
      socket.once('close', () => {
        clearTimeout(timer);
        closed();
      });
      socket.end();
    });
  }

  async #recordOf(call: Call): Promise<GateRecord> {
    const record = await this.#call(call);
    if (record === undefined) throw new TownError('gate-silent', 'The gate answered without a record.');
    return record;
  }

  async #give(call: Call): Promise<'applied' | 'queued'> {
    if (this.#hello === null) return 'queued';
    await this.#call(call);
    return 'applied';
  }

  #call(call: Call): Promise<GateRecord | undefined> {
    if (this.#hello === null || this.#pending.size >= callsMax)
      return Promise.reject(
        new TownError(
          'gate-away',
          'The gate is not connected.',
          'It is started again by itself; look into gate.log.',
        ),
      );
    const ref = (this.#ref += 1);
    const waitMs = call.t === 'config' ? configWaitMs : answerWaitMs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new TownError('gate-silent', `The gate did not answer within ${waitMs / 1000} s.`));
      }, waitMs);
      this.#pending.set(ref, { resolve, reject, timer });
      // `t` first: the gate tells by it which lines may be long.
      const { t, ...rest } = call;
      this.#write({ t, ref, ...rest } as ToGate);
    });
  }

  #write(message: ToGate): void {
    this.#socket?.write(JSON.stringify(message) + '\n');
  }

  #connect(): void {
    const socket = connect(gateSocketPath(this.#folder));
    this.#socket = socket;
    const lines = new LineReader();
    const timer = setTimeout(() => socket.destroy(), connectWaitMs);
    socket.on('connect', () =>
      this.#write({ t: 'hello', daemon: this.options.daemon ?? `daemon ${process.pid}` }),
    );
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#lost(socket);
    });
    socket.on('data', (chunk) => {
      try {
        for (const line of lines.push(chunk)) {
          const message = parseFromGate(line);
          if (message.t === 'hello') clearTimeout(timer);
          this.#take(message);
        }
      } catch (error) {
        this.options.logger.warn(
          { error: String(error) },
          'The gate said something that cannot be understood.',
        );
        socket.destroy();
      }
    });
  }

  #take(message: FromGate): void {
    switch (message.t) {
      case 'hello':
        this.#hello = message;
        this.#connectedAt = performance.now();
        this.options.onHello?.(message);
        this.#remind();
        return;
      case 'record':
        this.#deliver(message.record);
        return;
      case 'strike':
        this.options.onStrike?.(message);
        return;
      case 'done':
        this.#settle(message.ref)?.resolve(message.record);
        return;
      case 'failed':
        if (message.ref === 0) {
          // Another daemon took over: no fight for the socket.
          if (message.code === 'replaced') this.#backoffMs = replacedMs;
          this.options.logger.warn({ code: message.code }, message.message);
          this.options.onProblem?.(message.code, message.message);
        } else this.#settle(message.ref)?.reject(new TownError(message.code, message.message));
    }
  }

  #settle(ref: number): Pending | undefined {
    const pending = this.#pending.get(ref);
    if (pending === undefined) return undefined;
    this.#pending.delete(ref);
    clearTimeout(pending.timer);
    return pending;
  }

  /** A gate that has just come gets what the last one was given. */
  #remind(): void {
    const warn = (error: unknown) =>
      this.options.logger.warn({ error: String(error) }, 'The gate did not take its settings.');
    if (this.#config !== null) this.#call({ t: 'config', config: this.#config }).catch(warn);
    if (this.#rights !== null) this.#call({ t: 'rights', table: this.#rights }).catch(warn);
  }

  #deliver(record: GateRecord): void {
    const { id } = record;
    if (this.#delivered.has(id)) {
      this.#ack(id);
      return;
    }
    // Beyond the bound it is left with the gate, which sends it again.
    if (this.#delivering.has(id) || this.#delivering.size >= deliveringMax) return;
    this.#delivering.add(id);
    void this.#handOn(record).then(
      () => {
        this.#delivering.delete(id);
        this.#remember(id);
        this.#ack(id);
      },
      (error: unknown) => {
        this.#delivering.delete(id);
        this.options.logger.warn(
          { record: id, error: String(error) },
          'A door record could not be taken; it comes again.',
        );
        // The gate sends what is not acknowledged when a connection begins.
        if (this.#started) this.#later(() => this.#socket?.destroy());
      },
    );
  }

  /** Also what it throws at once counts as a rejection. */
  async #handOn(record: GateRecord): Promise<void> {
    await this.options.onRecord(record);
  }

  #remember(id: string): void {
    this.#delivered.add(id);
    if (this.#delivered.size <= rememberedMax) return;
    const [oldest] = this.#delivered;
    this.#delivered.delete(oldest!);
  }

  /** Acknowledgements of one turn of the event loop travel in one line. */
  #ack(id: string): void {
    this.#acks.push(id);
    if (this.#acks.length > 1) return;
    setImmediate(() => {
      const ids = this.#acks;
      this.#acks = [];
      for (let from = 0; from < ids.length; from += 500)
        this.#write({ t: 'ack', ids: ids.slice(from, from + 500) });
    });
  }

  #lost(socket: Socket): void {
    if (this.#socket !== socket) return;
    const was = this.#hello !== null;
    this.#socket = null;
    this.#hello = null;
    for (const ref of [...this.#pending.keys()])
      this.#settle(ref)?.reject(new TownError('gate-away', 'The gate went away before it answered.'));
    if (was) {
      if (performance.now() - this.#connectedAt >= goodConnectionMs && this.#backoffMs < replacedMs)
        this.#backoffMs = backoffMsMin;
      this.options.onLost?.();
    }
    if (!this.#started) return;
    if (this.options.spawn && !was) this.#spawn();
    this.#later(() => this.#connect());
  }

  #later(what: () => void): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      if (this.#started) what();
    }, this.#backoffMs);
    this.#backoffMs = Math.min(this.#backoffMs * 2, backoffMsMax);
  }

  /** Nobody listens. A gate that was started a moment ago may still be on its way; one that runs refuses the second. */
  #spawn(): void {
    const now = performance.now();
    if (now - this.#spawnedAt < spawnAgainMs) return;
    this.#spawnedAt = now;
    try {
      const pid = spawnGate(this.#folder, this.options.script ?? gateScript, (code) => {
        if (code !== 0)
          this.options.logger.warn({ code, folder: this.#folder }, 'The gate ended; see gate.log.');
      });
      this.options.logger.info({ pid }, 'Started the gate.');
    } catch (error) {
      this.options.logger.warn({ error: String(error) }, 'The gate could not be started.');
    }
  }
}

function doorOf(door: string): string {
  if (!/^[a-z0-9-]{1,32}$/.test(door))
    throw new TownError('unknown-door', 'A door id is 1 to 32 lower-case letters, digits and hyphens.');
  return door;
}
