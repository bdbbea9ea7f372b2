/** Joining from the setup page: a board that has just founded a town of its own, still empty, goes into another one instead. */
import { sha256 } from '../ledger/hash.js';
import { TownError } from '../ledger/ids.js';
import type { DappPackage } from '../dapps/package.js';
import type { Store } from '../store/store.js';
import type { Invitation } from '../sync/invitation.js';
import type { JoinProgress, Welcomed } from './ask-to-join.js';
import type { Clock } from './clock.js';
import { readConfig } from './config.js';
import { Serial } from './drive.js';
import { askDurably, joinedOf, readAsk } from './join-town.js';
import { dropAsking, putJoined, readAsking, type Asking, SET_ASIDE } from './joining-files.js';
import type { NodeKeys } from './key-files.js';
import type { SetupLock } from './setup-lock.js';
import type { StatusView } from './use-cases.js';
import { WELCOME_META } from './welcomed.js';

/** How far this board is on its way into a town. */
export interface JoiningView {
  /** `joined`: the town is put in its place, and the daemon starts again with it; or this node joined it long ago. */
  readonly state: 'idle' | 'asking' | 'waiting' | 'joined' | 'failed';
  /** This node's id: the steward compares it with what they are shown. */
  readonly node: string;
  /** The name of the town that is asked; null while none is. */
  readonly town: string | null;
  readonly broker: { readonly url: string; readonly reached: JoinProgress['reached'] } | null;
  /** Why it failed. */
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly advice?: string;
  } | null;
}

/** The use case that the API calls. Its methods may throw a `TownError`. */
export interface JoiningCase {
  view(): JoiningView;
  /** `token`: of the setup link. Resolves once this node asks; what comes of it is in `view`. */
  start(input: { token: string; code: string; name: string }): Promise<JoiningView>;
}

export interface JoiningParts {
  readonly folder: string;
  readonly store: Store;
  readonly keys: NodeKeys;
  readonly packages: readonly DappPackage[];
  readonly clock: Clock;
  readonly status: () => Pick<StatusView, 'needsSetup' | 'height' | 'town'>;
  readonly setupLock: SetupLock;
  /** A welcome lies on the disk: start again with its town. */
  readonly onJoined: () => void;
}

/** Requests that may wait for each other. */
const WAITING_MAX = 8;

interface Running {
  readonly asking: Asking;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export class Joining implements JoiningCase {
  private current: Omit<JoiningView, 'node'> = { state: 'idle', town: null, broker: null, error: null };
  private running: Running | null = null;
  /** One request after the other: each looks at what the one before has begun. */
  private readonly turns = new Serial(WAITING_MAX);
  private ended = false;

  constructor(private readonly parts: JoiningParts) {
    if (parts.store.meta(WELCOME_META) !== null)
      this.current = { ...this.current, state: 'joined', town: parts.status().town.name };
  }

  view(): JoiningView {
    return { ...this.current, node: this.parts.keys.id };
  }

  /**
   * @throws TownError `setup-used`, `setup-expired`, `busy` (it has joined just now), `bad-invitation-code`,
   *   `invitation-expired`, `bad-name`
   */
  start(input: { token: string; code: string; name: string }): Promise<JoiningView> {
    return this.turns.run(() => this.startNow(input), busy);
  }

  private async startNow({
    token,
    code,
    name,
  }: {
    token: string;
    code: string;
    name: string;
  }): Promise<JoiningView> {
    this.assertEmpty();
    if (this.parts.store.meta('setup-token') !== sha256(token))
      throw new TownError(
        'setup-expired',
        'This setup link is not the newest one of this node.',
        'Use the link that the last start printed, or start the daemon again for a new one.',
      );
    this.assertNotJoined();
    const { invitation, asking } = readAsk(
      { code, name, clock: this.parts.clock },
      await readAsking(this.parts.folder),
    );
    if (this.running && same(this.running.asking, asking)) return this.view();
    await this.halt();
    // What was asked before may have come through in this moment.
    this.assertNotJoined();
    this.begin(invitation, asking);
    return this.view();
  }

  /** Goes on with what was asked before the last start, if anything was and the town here is still empty. */
  resume(): Promise<void> {
    return this.turns.run(() => this.resumeNow(), busy);
  }

  private async resumeNow(): Promise<void> {
    if (this.running) return;
    const { folder, clock } = this.parts;
    const earlier = await readAsking(folder);
    if (earlier === null) return;
    if (!this.isEmpty) return dropAsking(folder);
    try {
      const { invitation, asking } = readAsk({ ...earlier, clock }, earlier);
      this.begin(invitation, asking);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      // Told on the setup page, which asks for another code.
      this.failed(error);
      await dropAsking(folder);
    }
  }

  /** Stops asking; the next start goes on with it. */
  stop(): Promise<void> {
    this.ended = true;
    this.running?.abort.abort();
    return this.turns.run(() => this.halt(), busy);
  }

  private async halt(): Promise<void> {
    const { running } = this;
    this.running = null;
    running?.abort.abort();
    await running?.done;
  }

  /** The town of this board was set up: it asks no other one any more. */
  giveUp(): void {
    if (this.running === null || this.current.state === 'joined') return;
    this.current = { state: 'idle', town: null, broker: null, error: null };
    // What is left of it is refused at the next start, and dropped then.
    this.turns
      .run(async () => {
        await this.halt();
        await dropAsking(this.parts.folder);
      }, busy)
      .catch(() => undefined);
  }

  /** A town that has a steward, or a history, is nobody's to set aside. @throws TownError `setup-used` */
  private assertEmpty(): void {
    if (this.isEmpty) return;
    throw new TownError(
      'setup-used',
      'This node has a town that was set up: it cannot join another one.',
      'Join with another data folder: town join CODE --data DIR',
    );
  }

  private assertNotJoined(): void {
    if (this.current.state === 'joined')
      throw new TownError('busy', 'This node has just joined a town.', 'Wait until it has started again.');
  }

  private get isEmpty(): boolean {
    const { needsSetup, height } = this.parts.status();
    return needsSetup && height === 0;
  }

  private begin(invitation: Invitation, asking: Asking): void {
    if (this.ended) return;
    const abort = new AbortController();
    this.current = { state: 'asking', town: invitation.name, broker: null, error: null };
    this.running = { asking, abort, done: this.ask(invitation, asking, abort.signal) };
  }

  private async ask(invitation: Invitation, asking: Asking, signal: AbortSignal): Promise<void> {
    const { folder, keys, packages, clock } = this.parts;
    try {
      const welcomed = await askDurably(folder, {
        keys,
        invitation,
        asking,
        packages,
        clock,
        signal,
        onProgress: ({ state, town, broker, reached }) => {
          this.current = { state, town, broker: { url: broker, reached }, error: null };
        },
      });
      await this.putInPlace(welcomed, invitation);
      this.current = { ...this.current, state: 'joined' };
    } catch (error) {
      if (signal.aborted) return;
      this.failed(error);
      await dropAsking(folder).catch(() => undefined);
      return;
    }
    this.parts.onJoined();
  }

  /** From here on nobody sets this board up: the town that they would have is about to be set aside. */
  private async putInPlace(welcomed: Welcomed, invitation: Invitation): Promise<void> {
    const { folder, keys, clock, setupLock } = this.parts;
    const release = await setupLock.takeForJoining();
    try {
      this.assertEmpty();
      const before = await readConfig(folder);
      await putJoined(folder, joinedOf(welcomed, { invitation, keys, before, aside: asideAt(clock.now()) }));
    } catch (error) {
      release();
      throw error;
    }
  }

  private failed(error: unknown): void {
    const problem =
      error instanceof TownError
        ? error
        : new TownError('join-failed', `Joining failed: ${error instanceof Error ? error.message : error}`);
    const { code, message, advice } = problem;
    const told = advice === undefined ? { code, message } : { code, message, advice };
    this.current = { ...this.current, state: 'failed', error: told };
    this.running = null;
  }
}

const busy = (): TownError =>
  new TownError('busy', 'Too much is asked of this board just now.', 'Try again in a moment.');

const same = (a: Asking, b: Asking): boolean => a.code === b.code && a.name === b.name;

/** A folder name that sorts by time. */
const asideAt = (now: number): string => `${SET_ASIDE}${new Date(now).toISOString().replace(/[:.]/g, '-')}`;
