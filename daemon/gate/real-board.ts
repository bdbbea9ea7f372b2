import { TownError } from '../ledger/ids.js';
import type { Board, BoardEvents } from './board.js';
import type { GateConfig } from './shapes.js';
export async function openRealBoard(
  config: GateConfig,
  _events: BoardEvents,
  _folder: string,
): Promise<Board> {
  throw new TownError('unknown-board', `There is no pin map for the board "${config.board}".`);
}
