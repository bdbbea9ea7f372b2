/**
 * One contract, called one call at a time. Whatever it does, a call ends: with an answer, or with a named error.
 *
 * - It dies in a call (memory, a crash, a killed container): it is started again and the call is replayed from the
 *   transcript, so that nobody outside sees it. If it then asks something else it is not deterministic.
 * - It breaks the protocol (bad line, endless line, unknown fields): that is a defect of the dapp and the same on every
 *   node, so it is an answer: `error`, with one fixed text. The details go to `onFault`, never into the ledger.
 * - It is silent too long: that may differ from node to node, so it is thrown.
 */
import { canonicalize } from '../ledger/canonical.js';
import { invariant, TownError } from '../ledger/ids.js';
import { LINE_BYTES_MAX, lineOf, parseFromContract } from './messages.js';
import type { FromContract, ToContract } from './protocol.js';
import { LineCutter, type LaunchContract, type RunningContract } from './running-contract.js';

const RESTARTS_MAX = 3;
const QUESTIONS_MAX = 20_000;
const TRANSCRIPT_BYTES_MAX = 64 * 1024 * 1024;
const WAITING_CALLS_MAX = 64;
const DIAGNOSTICS_CHARS_MAX = 8 * 1024;
/** A contract that writes more than this to stderr is ended: reading it costs the daemon time. */
const STDERR_BYTES_MAX = 1024 * 1024;
/** A page of a list ends at 512 KiB; entries and values are far smaller. */
const SENT_BYTES_MAX = 1024 * 1024;
/** A caller that got a question and does not come back with the answer for this long has given the call up. */
const ABANDONED_MS = 30_000;

/** The one text of `error`: what a dapp or its runtime says may differ between nodes, what is recorded must not. */
export const CONTRACT_ERROR = 'The contract failed: a defect in the dapp.';

const ANSWERS: Readonly<Record<'apply' | 'test' | 'query', readonly FromContract['t'][]>> = {
  apply: ['get', 'list', 'accept', 'reject', 'error'],
  test: ['get', 'list', 'pass', 'veto', 'error'],
  query: ['get', 'list', 'result', 'reject', 'error'],
};
type CallStart = Extract<ToContract, { t: 'apply' | 'test' | 'query' }>;
const isCallStart = (message: ToContract): message is CallStart =>
  message.t === 'apply' || message.t === 'test' || message.t === 'query';
const isQuestion = (said: FromContract): boolean => said.t === 'get' || said.t === 'list';

interface Call {
  readonly start: CallStart;
  /** Lines to the contract, and what it said to each: `said` is as long, or one shorter while it thinks. */
  readonly sent: string[];
  readonly said: string[];
  bytes: number;
  /** Answers of this call that the contract now running has given. */
  fed: number;
  deaths: number;
  fault: string | null;
  thinking: boolean;
  givenUp?: NodeJS.Timeout;
}

interface Alive {
  readonly contract: RunningContract;
  /** Time it has spent on this call, ms; the first answer after a start has `startMs` on top. */
  spentMs: number;
  fresh: boolean;
  pending: { resolve(said: FromContract | Fault): void; reject(error: unknown): void } | null;
  dead: boolean;
}

class Fault {
  constructor(readonly why: string) {}
}
class Died extends Error {}

export interface ContractSessionOptions {
  readonly dapp: string;
  readonly callMs: number;
  /** What starting may take on top of the first answer, ms. */
  readonly startMs: number;
  readonly launch: LaunchContract;
  /** Told of every defect, restart and timeout, for the log. */
  readonly onFault: (text: string) => void;
}

export class ContractSession {
  private alive: Alive | null = null;
  private launching: Promise<Alive> | null = null;
  private call: Call | null = null;
  /** A call is open, or its turn was given and has not begun yet. */
  private taken = false;
  private readonly waiting: (() => void)[] = [];
  private readonly endings = new Set<Promise<void>>();
  private stopped = false;
  private diagnostics = '';
  private restarts = 0;

  constructor(private readonly options: ContractSessionOptions) {}

  /** Starts the contract before it is needed. @throws TownError where it cannot be started */
  async warm(): Promise<void> {
    await this.ensureAlive();
  }

  status(): { readonly running: boolean; readonly restarts: number; readonly diagnostics: string } {
    return { running: this.alive !== null, restarts: this.restarts, diagnostics: this.diagnostics };
  }

  /**
   * One message to the contract, the next one from it. `apply`, `test` and `query` begin a call and wait for their turn;
   * `value`, `page` and `refused` answer the question of the call that is open.
   * @throws TownError `contract-timeout`, `contract-crashed`, `contract-nondeterministic`, `contract-busy`,
   *   `contract-message-too-long`, `contract-stopped`, `contract-call-given-up`, or what starting it throws
   */
  async exchange(message: ToContract): Promise<FromContract> {
    const line = lineOf(message);
    if (Buffer.byteLength(line) > SENT_BYTES_MAX)
      throw this.error(
        'contract-message-too-long',
        `A message to it is longer than ${LINE_BYTES_MAX} bytes.`,
      );
    const call = isCallStart(message) ? await this.begin(message) : this.continue(message);
    call.sent.push(line);
    call.bytes += line.length;
    call.thinking = true;
    try {
      const said = await this.think(call);
      call.thinking = false;
      if (isQuestion(said)) this.expectAnswer(call);
      else this.end(call, said.t === 'error');
      return said;
    } catch (error) {
      this.end(call, true);
      throw error;
    }
  }

  /** Ends the contract that runs; the next message starts another, and an open call is replayed on it. */
  async restart(): Promise<void> {
    const { alive } = this;
    if (alive) await this.kill(alive);
  }

  /** Ends it for good. Calls that are open or wait fail with `contract-stopped`. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.launching?.catch(() => undefined);
    const { alive } = this;
    if (alive) {
      alive.pending?.reject(this.error('contract-stopped', 'It was stopped in a call.'));
      alive.pending = null;
      await this.kill(alive);
    }
    clearTimeout(this.call?.givenUp);
    if (this.call && !this.call.thinking) this.end(this.call, false);
    await Promise.all(this.endings);
  }

  private error(code: string, what: string, advice?: string): TownError {
    return new TownError(code, `Dapp "${this.options.dapp}": ${what}`, advice);
  }

  private async begin(start: CallStart): Promise<Call> {
    if (this.taken) {
      if (this.waiting.length >= WAITING_CALLS_MAX)
        throw this.error(
          'contract-busy',
          `${WAITING_CALLS_MAX} calls wait for their turn already.`,
          'Try again later.',
        );
      await new Promise<void>((turn) => this.waiting.push(turn));
    }
    this.taken = true;
    if (this.stopped) {
      this.passOn();
      throw this.error('contract-stopped', 'It is stopped.');
    }
    invariant(this.call === null, 'a contract is in one call at a time');
    this.call = { start, sent: [], said: [], bytes: 0, fed: 0, deaths: 0, fault: null, thinking: false };
    if (this.alive) this.alive.spentMs = 0;
    return this.call;
  }

  private continue(message: ToContract): Call {
    const { call } = this;
    if (!call || call.thinking || call.start.id !== message.id || call.sent.length === 0)
      throw this.error('contract-call-given-up', `No call ${message.id} of it waits for an answer.`);
    clearTimeout(call.givenUp);
    return call;
  }

  private expectAnswer(call: Call): void {
    call.givenUp = setTimeout(() => {
      this.options.onFault('a call was given up by the daemon');
      this.end(call, true);
    }, ABANDONED_MS);
    call.givenUp.unref();
  }

  /** `broken`: what the running contract waits for is unknown, so it goes too. */
  private end(call: Call, broken: boolean): void {
    clearTimeout(call.givenUp);
    if (this.call !== call) return;
    if (broken && this.alive) void this.kill(this.alive);
    this.call = null;
    this.passOn();
  }

  private passOn(): void {
    const turn = this.waiting.shift();
    if (turn) turn();
    else this.taken = false;
  }

  /** Feeds the transcript to the contract, from where the running one stands, up to its next new message. */
  private async think(call: Call): Promise<FromContract> {
    for (;;) {
      if (call.fault !== null) return this.fault(call, call.fault);
      try {
        const alive = await this.ensureAlive();
        if (alive.fresh) call.fed = 0;
        while (call.fed < call.sent.length) {
          const said = await this.ask(alive, call, call.sent[call.fed] as string);
          const text = said instanceof Fault ? `fault ${said.why}` : canonicalize(said);
          const before = call.said[call.fed++];
          if (before === undefined) call.said.push(text);
          else if (before !== text)
            throw this.error(
              'contract-nondeterministic',
              'Started again and given the same call, it did something else.',
              'A contract may depend on nothing but what it is sent: no clock, no randomness, no memory of earlier calls.',
            );
          if (call.fed < call.sent.length) continue;
          if (said instanceof Fault) return this.fault(call, said.why);
          if (said.t === 'error') return this.fault(call, `it says: ${said.message}`);
          call.bytes += text.length;
          if (isQuestion(said) && (call.sent.length > QUESTIONS_MAX || call.bytes > TRANSCRIPT_BYTES_MAX))
            return this.fault(
              call,
              `it asks more than ${QUESTIONS_MAX} questions or reads more than 64 MiB in a call`,
            );
          return said;
        }
      } catch (error) {
        if (!(error instanceof Died)) throw error;
        if (this.stopped) throw this.error('contract-stopped', 'It was stopped in a call.');
        this.restarts++;
        this.options.onFault(`it ended in a call: ${error.message}`);
        if (++call.deaths > RESTARTS_MAX)
          throw this.error(
            'contract-crashed',
            `It ended ${call.deaths} times in one call, at last: ${error.message}`,
            'Its memory or process limit in dapp.json may be too low; its last words are in the log.',
          );
      }
    }
  }

  private fault(call: Call, why: string): FromContract {
    this.options.onFault(why);
    return { t: 'error', id: call.start.id, message: CONTRACT_ERROR };
  }

  private async ask(alive: Alive, call: Call, line: string): Promise<FromContract | Fault> {
    if (alive.dead) throw new Died('it was gone');
    const started = performance.now();
    const budgetMs = this.options.callMs - alive.spentMs + (alive.fresh ? this.options.startMs : 0);
    let timer: NodeJS.Timeout | undefined;
    const said = await new Promise<FromContract | Fault>((resolve, reject) => {
      alive.pending = { resolve, reject };
      timer = setTimeout(
        () => {
          alive.pending = null;
          this.options.onFault(`no answer to "${call.start.t}" in ${this.options.callMs} ms`);
          reject(
            this.error(
              'contract-timeout',
              `It did not answer within ${this.options.callMs} ms.`,
              'If the board is busy, try again; else raise limits.callMs in dapp.json, or mend the contract.',
            ),
          );
        },
        Math.max(1, budgetMs),
      );
      alive.contract.stdin.write(line);
    }).finally(() => clearTimeout(timer));
    alive.spentMs = alive.fresh ? 0 : alive.spentMs + (performance.now() - started);
    alive.fresh = false;
    if (said instanceof Fault) return said;
    if (said.id !== call.start.id) return new Fault('it answered with another id');
    if (!ANSWERS[call.start.t].includes(said.t))
      return new Fault(`it answered "${call.start.t}" with "${said.t}"`);
    return said;
  }

  private ensureAlive(): Promise<Alive> {
    if (this.alive) return Promise.resolve(this.alive);
    if (this.stopped) return Promise.reject(this.error('contract-stopped', 'It is stopped.'));
    this.launching ??= this.launch().finally(() => (this.launching = null));
    return this.launching;
  }

  private async launch(): Promise<Alive> {
    const contract = await this.options.launch();
    const alive: Alive = { contract, spentMs: 0, fresh: true, pending: null, dead: false };
    const heard = (said: FromContract | Fault): void => {
      if (alive.dead) return;
      const { pending } = alive;
      alive.pending = null;
      if (pending) return pending.resolve(said);
      // Nobody asked: it does not keep to the protocol. If a call waits for the daemon, that call is spoilt.
      this.options.onFault('it wrote a line that nobody asked for');
      if (this.call) this.call.fault = 'it wrote a line that nobody asked for';
      void this.kill(alive);
    };
    const cutter = new LineCutter(
      LINE_BYTES_MAX,
      (line) => {
        const said = parseFromContract(line);
        heard(typeof said === 'string' ? new Fault(said) : said);
      },
      () => heard(new Fault(`a line is longer than ${LINE_BYTES_MAX} bytes`)),
    );
    contract.stdout.on('data', (chunk: Buffer) => cutter.push(chunk));
    let stderrBytes = 0;
    contract.stderr.on('data', (chunk: Buffer) => {
      stderrBytes += chunk.length;
      if (alive.dead) return;
      if (stderrBytes > STDERR_BYTES_MAX) {
        this.options.onFault(`it wrote more than ${STDERR_BYTES_MAX} bytes to stderr`);
        void this.kill(alive);
      }
      this.diagnostics = (this.diagnostics + chunk.toString('utf8')).slice(-DIAGNOSTICS_CHARS_MAX);
    });
    // A broken pipe is told by `ended`.
    for (const stream of [contract.stdin, contract.stdout, contract.stderr])
      stream.on('error', () => undefined);
    void contract.ended.then((why) => this.bury(alive, why));
    this.alive = alive;
    return alive;
  }

  private bury(alive: Alive, why: string): void {
    alive.dead = true;
    if (this.alive === alive) this.alive = null;
    alive.pending?.reject(new Died(why));
    alive.pending = null;
  }

  private kill(alive: Alive): Promise<void> {
    this.bury(alive, 'it was ended by the daemon');
    const ending = alive.contract.kill().catch((error: unknown) => {
      this.options.onFault(`it could not be ended: ${String(error)}`);
    });
    this.endings.add(ending);
    return ending.finally(() => this.endings.delete(ending));
  }
}
