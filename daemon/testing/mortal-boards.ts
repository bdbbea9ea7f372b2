/** Boards that a test kills at points, and the people who record on them. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Recorded } from '../node/use-cases.js';
import { KILL_POINT_FILE, reachedAt } from './kill-points.js';
import { STEWARD_NAME as ADA, type Board, type TownOfNodes } from './town-of-nodes.js';

const preload = fileURLToPath(new URL('kill-point.js', import.meta.url));

/** What stock git has to say against the repository of a board as it lies, be the board running or not; empty: nothing. */
export const fsck = (board: Board): string => {
  try {
    const git = ['-C', join(board.folder, 'ledger.git'), 'fsck', '--strict', '--full', '--no-dangling'];
    return execFileSync('git', git, { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? String(error);
  }
};

/** Where the point is armed at which a board dies. */
export const fileOf = (board: Board): string => `${board.folder}.kill`;

/** Starts a board so that it can be killed at a point. */
export const startArmable = (board: Board): Promise<void> =>
  board.start({ preload, environment: { [KILL_POINT_FILE]: fileOf(board) } });

/** People who record on every board that runs, and keep what was acknowledged. */
export class Recorders {
  readonly acknowledged: string[] = [];
  #people = 0;

  constructor(private readonly town: Pick<TownOfNodes, 'boards'>) {}

  /** One entry; null where the board died over it. Everything else that fails is a fault. */
  async record(board: Board): Promise<string | null> {
    this.#people += 1;
    const name = `Person ${this.#people}`;
    try {
      const { entry } = await board.post<Recorded>(ADA, '/api/people', { name });
      this.acknowledged.push(entry);
      return entry;
    } catch (error) {
      if (reachedAt(fileOf(board)) !== null) return null;
      throw error;
    }
  }

  everywhere(): Promise<(string | null)[]> {
    return Promise.all(
      this.town.boards.filter(({ isRunning }) => isRunning).map((board) => this.record(board)),
    );
  }
}
