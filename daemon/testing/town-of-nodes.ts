/**
 * A town of several real daemons on this machine, each reached only through a way that can be cut: what the tests of outages and
 * the demo stand on. The first node founds the town; the others join by invitation, as people would do it.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../node/clock.js';
import { readConfig, writeConfig } from '../node/config.js';
import { readPackages } from '../node/dapp-set.js';
import { initTown } from '../node/init-town.js';
import type { KeyRequested } from '../node/key-cases.js';
import { joinTown } from '../node/join-town.js';
import type { NodeInvited, NodesView } from '../node/node-cases.js';
import type { DoorView, MergeView, Recorded, SessionView, StatusView } from '../node/use-cases.js';
import { eventually } from './eventually.js';
import { endGate, gitMains, gitProblems, gitSays } from './left-on-disk.js';
import {
  apiOf,
  PASSPHRASE,
  setUp,
  startTown,
  type Api,
  type ApiAnswer,
  type RunningTown,
  type StartOptions,
} from './running-town.js';
import { TcpProxy } from './tcp-proxy.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const JOIN_MS_MAX = 180_000;
/** Consensus gives up and tries again within this, also on a busy machine. */
export const CONVERGE_MS_MAX = 240_000;

export const STEWARD_NAME = 'Ada';

export interface TownOptions {
  /** Each node has its data folder in here, called as the node is: `node-1`, `node-2`, … */
  readonly folder: string;
  /** What the nodes are called in the town, the founder first; their number is the number of nodes. */
  readonly names?: readonly string[];
  readonly townName?: string;
  readonly driver?: 'auto' | 'container' | 'process';
  /** The port of an external broker on loopback. Without it the founder's embedded one is where they meet. */
  readonly brokerPort?: number;
}

/** What an answer of the API holds, or the error it tells. */
export async function asked<T>(answer: ApiAnswer | Promise<ApiAnswer>, what: string): Promise<T> {
  const { status, body } = await answer;
  if (status >= 300) throw new Error(`${what} answered ${status}: ${JSON.stringify(body)}`);
  return body as T;
}

/** One node of the town: its process, its data folder, its way to the others. */
export class Board {
  #running: RunningTown | null = null;
  #starting: Promise<RunningTown> | null = null;
  #closed = false;
  /** Signed in on this board, by name. */
  readonly #people = new Map<string, Api>();

  constructor(
    /** `node-1`, `node-2`, … */
    readonly key: string,
    readonly folder: string,
    /** To the broker; null for the board that runs the broker itself. */
    readonly way: TcpProxy | null,
    private readonly options: StartOptions,
  ) {}

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** The daemon. @throws Error while it is not running */
  get town(): RunningTown {
    if (this.#running === null) throw new Error(`${this.key} is not running.`);
    return this.#running;
  }

  get url(): string {
    return this.town.url;
  }

  /** Starts the daemon, again or for the first time; everybody has to sign in anew. */
  async start(more: StartOptions = {}): Promise<void> {
    if (this.#closed || this.#starting || this.#running) throw new Error(`${this.key} cannot start now.`);
    this.#people.clear();
    this.#starting = startTown(this.folder, { ...this.options, ...more });
    try {
      this.#running = await this.#starting;
    } finally {
      this.#starting = null;
    }
  }

  /** Ends the daemon in order. */
  async stop(): Promise<void> {
    const { town } = this;
    this.#running = null;
    await town.stop();
  }

  /** Ends the daemon at once, as a power cut does; its gate, a process of its own, goes on. */
  async kill(): Promise<void> {
    const { town } = this;
    this.#running = null;
    await town.kill();
  }

  /** Ends what runs of this board for good, a gate that a killed daemon left behind included. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#starting?.catch(() => undefined);
    const running = this.#running;
    this.#running = null;
    await running?.stop();
    await endGate(this.folder);
    await this.way?.close();
  }

  /** The API as nobody in particular. */
  get api(): Api {
    return apiOf(this.town);
  }

  /** The API as somebody who has a key on this board. */
  async as(name: string): Promise<Api> {
    const known = this.#people.get(name);
    if (known) return known;
    const path = '/api/session';
    const { token } = await asked<{ token: string }>(
      this.api('POST', path, { name, passphrase: PASSPHRASE }),
      `${path} of ${this.key}`,
    );
    return this.remember(name, token);
  }

  /** Keeps a session. */
  remember(name: string, token: string): Api {
    const api = apiOf(this.town, token);
    this.#people.set(name, api);
    return api;
  }

  /** Gets something as somebody (the steward, unless said otherwise). */
  async get<T>(path: string, name = STEWARD_NAME): Promise<T> {
    return asked(await this.#as(name, 'GET', path), `${path} of ${this.key}`);
  }

  /** Does something as somebody. */
  async post<T = Recorded>(name: string, path: string, body?: object): Promise<T> {
    return asked(await this.#as(name, 'POST', path, body), `${path} of ${this.key}`);
  }

  async put<T = Recorded>(name: string, path: string, body: object): Promise<T> {
    return asked(await this.#as(name, 'PUT', path, body), `${path} of ${this.key}`);
  }

  async #as(name: string, method: string, path: string, body?: object): Promise<ApiAnswer> {
    return (await this.as(name))(method, path, body);
  }

  status(): Promise<StatusView> {
    return asked(this.api('GET', '/api/status'), `The status of ${this.key}`);
  }

  /** The door that is wired to this board. */
  async door(): Promise<DoorView> {
    const door = (await this.get<DoorView[]>('/api/doors')).find(({ here }) => here);
    if (!door) throw new Error(`${this.key} has no door.`);
    return door;
  }

  /** Merges everything that is here now; null where there was nothing. Waits for the others as long as the daemon does. */
  async merge(): Promise<MergeView | null> {
    return (await this.post<{ merge: MergeView | null }>(STEWARD_NAME, '/api/ledger/merge')).merge;
  }

  /** What stock git says in this board's repository. */
  git(...words: readonly string[]): Promise<string> {
    return gitSays(this.folder, ...words);
  }
}

export class TownOfNodes {
  readonly #closing = new AbortController();
  /** What this process itself does in a board's folder: closing waits for it. */
  #atWork: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly boards: readonly Board[],
    private readonly options: Required<Omit<TownOptions, 'brokerPort'>> & Pick<TownOptions, 'brokerPort'>,
  ) {}

  /** The boards and their ways; nothing runs yet. `close` ends whatever comes to run. */
  static async prepare(options: TownOptions): Promise<TownOfNodes> {
    const all = {
      names: ['House', 'Workshop', 'Garden'],
      townName: 'Three boards',
      driver: 'process',
      ...options,
    } as const;
    const { folder, names, driver, brokerPort } = all;
    const boards: Board[] = [];
    for (let index = 0; index < names.length; index += 1) {
      const key = `node-${index + 1}`;
      // Where the founder runs the broker itself, the others' ways lead to it once it is there.
      const way = index === 0 && brokerPort === undefined ? null : await TcpProxy.open(brokerPort ?? 0);
      boards.push(new Board(key, join(folder, key), way, { driver }));
    }
    return new TownOfNodes(boards, all);
  }

  /** Prepares a town, founds it, lets every board join, gives the steward a key on each and makes all of them validators. */
  static async open(options: TownOptions): Promise<TownOfNodes> {
    const town = await TownOfNodes.prepare(options);
    try {
      await town.found();
      for (const board of town.boards.slice(1)) await town.join(board);
      for (const board of town.boards.slice(1)) await town.makeValidator(board);
      for (const board of town.boards.slice(1)) await town.giveKey(STEWARD_NAME, town.founder, board);
      await town.converged();
      return town;
    } catch (error) {
      await town.close();
      throw error;
    }
  }

  /** The board that founds the town. */
  get founder(): Board {
    return this.boards[0] as Board;
  }

  /** Founds the town on its first board, with the steward Ada. */
  async found(): Promise<void> {
    const { founder } = this;
    const { townName, names } = this.options;
    const { folder } = founder;
    await this.#work(
      initTown(folder, { name: townName, preset: 'makerspace', packagesFolder, clock: systemClock }),
    );
    if (founder.way !== null) {
      const broker = { url: `mqtt://127.0.0.1:${founder.way.port}` };
      await writeConfig(folder, { ...(await readConfig(folder)), broker });
    }
    await founder.start();
    await this.#leadWays();
    founder.remember(STEWARD_NAME, (await setUp(founder.town)).token);
    const { node } = await founder.status();
    await founder.post(STEWARD_NAME, '/api/charter/changes', {
      set: { [`/nodes/${node.id}/name`]: names[0] },
      remove: [],
    });
  }

  /** Starts a board again; where it runs the broker, the ways of the others lead to its new port. */
  async start(board: Board, more: StartOptions = {}): Promise<void> {
    await board.start(more);
    if (board === this.founder) await this.#leadWays();
  }

  async #leadWays(): Promise<void> {
    if (this.options.brokerPort !== undefined) return;
    const { port } = (await this.founder.status()).broker;
    if (port === null) throw new Error('The founder runs no broker.');
    for (const { way } of this.boards) way?.retarget(port);
  }

  nameOf(board: Board): string {
    return this.options.names[this.boards.indexOf(board)] ?? board.key;
  }

  /** Makes an invitation for a board, by the way that this board shall take. */
  invite(board: Board, role: 'door' | 'hub' = 'door'): Promise<NodeInvited> {
    const brokers = [`mqtt://127.0.0.1:${board.way?.port}`];
    return this.founder.post<NodeInvited>(STEWARD_NAME, '/api/nodes/invitations', { role, brokers });
  }

  /**
   * Lets a board join: invitation, ask, the steward's approval, welcome, start. Resolves when its daemon serves.
   * @param waits told the id of the asking node when the steward is to approve it
   */
  async join(board: Board, waits: (node: string) => unknown = () => undefined): Promise<void> {
    const invited = await this.invite(board);
    const joined = this.#work(
      joinTown(board.folder, {
        code: invited.link,
        name: this.nameOf(board),
        packages: await readPackages(packagesFolder),
        clock: systemClock,
        onProgress: () => undefined,
        signal: this.#closing.signal,
      }),
    );
    const failed = joined.then(() => null);
    const asker = await Promise.race([
      failed,
      eventually(
        `${board.key} asks to join`,
        async () => {
          const { invitations } = await this.founder.get<NodesView>('/api/nodes');
          return invitations?.find(({ id, state }) => id === invited.id && state === 'asked')?.asker;
        },
        { withinMs: JOIN_MS_MAX },
      ),
    ]);
    if (asker !== null) {
      await waits(asker.node);
      await this.founder.post(STEWARD_NAME, `/api/nodes/invitations/${invited.id}/approve`, {
        node: asker.node,
      });
      await this.founder.merge();
    }
    await joined;
    await board.start();
  }

  /** Makes a board a validator; resolves when that is in a merge here and there. */
  async makeValidator(board: Board): Promise<void> {
    const { node } = await board.status();
    await eventually(
      `${board.key} is heard by the founder`,
      async () =>
        (await this.founder.get<NodesView>('/api/nodes')).nodes.some(
          ({ id, connected, ahead }) => id === node.id && connected && ahead.merges === 0,
        ),
      { withinMs: CONVERGE_MS_MAX, last: () => this.founder.get('/api/nodes') },
    );
    await this.#caughtUp(board);
    await this.founder.put(STEWARD_NAME, `/api/nodes/${node.id}/validator`, { validator: true });
    await this.founder.merge();
    await this.#caughtUp(board);
  }

  /** Waits until a board has the founder's `main`. */
  async #caughtUp(board: Board): Promise<void> {
    await eventually(
      `${board.key} has the main of the founder`,
      async () => (await board.status()).main === (await this.founder.status()).main,
      { withinMs: CONVERGE_MS_MAX, last: () => this.mains() },
    );
  }

  /** A further key for somebody who has one on `from`: asked for on the other board, vouched for on the first. */
  async giveKey(name: string, from: Board, to: Board): Promise<void> {
    const { member } = await from.get<SessionView>('/api/session', name);
    const { code } = await asked<KeyRequested>(
      to.api('POST', '/api/keys/requests', { member, name, passphrase: PASSPHRASE }),
      `Asking for a key on ${to.key}`,
    );
    await from.post(name, '/api/keys', { code });
    await from.merge();
    await eventually(
      `${name} can sign in on ${to.key}`,
      async () => {
        const { status, body } = await to.api('POST', '/api/session', { name, passphrase: PASSPHRASE });
        if (status !== 200) return false;
        to.remember(name, (body as { token: string }).token);
        return true;
      },
      // Few tries a minute are allowed.
      { withinMs: CONVERGE_MS_MAX, everyMs: 1_000, last: () => this.mains() },
    );
  }

  /** A new credit member with a key on this board; resolves to the member's id. */
  async addMember(name: string, board: Board): Promise<string> {
    const { code } = await board.post<{ code: string }>(STEWARD_NAME, '/api/members/invitations', { name });
    const { token, member } = await asked<{ token: string; member: string }>(
      board.api('POST', '/api/members/join', { code, passphrase: PASSPHRASE }),
      `Joining of ${name} at ${board.key}`,
    );
    board.remember(name, token);
    return member;
  }

  /** The head of `main` of every board that runs (SHA-256 of the merge), by the board's key. */
  async mains(): Promise<{ readonly [key: string]: string }> {
    const running = this.boards.filter(({ isRunning }) => isRunning);
    const heads = await Promise.all(running.map(async (board) => [board.key, (await board.status()).main]));
    return Object.fromEntries(heads) as { [key: string]: string };
  }

  /** Whether every running board has one `main` and nothing unmerged. */
  async isConverged(): Promise<boolean> {
    const running = this.boards.filter(({ isRunning }) => isRunning);
    const all = await Promise.all(running.map((board) => board.status()));
    return (
      new Set(all.map(({ main }) => main)).size === 1 &&
      all.every(({ pendingEntries }) => pendingEntries === 0)
    );
  }

  /** Asks for merges until every running board has one `main` and nothing unmerged; resolves to that head. */
  async converged(withinMs = CONVERGE_MS_MAX): Promise<string> {
    await eventually(
      'all boards have one main and nothing unmerged',
      async () => {
        if (await this.isConverged()) return true;
        // Who has something asks; what comes of it is looked at, not what is answered: a merge may wait for somebody.
        for (const board of this.boards.filter(({ isRunning }) => isRunning))
          if ((await board.status()).pendingEntries > 0)
            await (
              await board.as(STEWARD_NAME)
            )('POST', '/api/ledger/merge');
        return this.isConverged();
      },
      { withinMs, last: () => this.#states() },
    );
    return (await this.mains())[this.founder.key] as string;
  }

  async #states(): Promise<object> {
    const running = this.boards.filter(({ isRunning }) => isRunning);
    const all = await Promise.all(running.map((board) => board.status()));
    return all.map(({ node, height, main, pendingEntries, merging, alarm, peers }) => ({
      ...{ node: node.name, height, main, pendingEntries, merging, alarm, peers },
    }));
  }

  /** The head of `main` that stock git finds in each repository, once it is written there. */
  gitMains(): Promise<{ readonly [key: string]: string }> {
    return gitMains(this.boards);
  }

  /** What stock git has to say against the repositories: see `gitProblems`. */
  gitProblems(): Promise<readonly string[]> {
    return gitProblems(this.boards);
  }

  #work<T>(work: Promise<T>): Promise<T> {
    // A failure is told where it is awaited, not here.
    this.#atWork = work.catch(() => undefined);
    return work;
  }

  /** Ends everything that this town started. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#atWork;
    for (const board of [...this.boards].reverse()) await board.close();
  }
}
