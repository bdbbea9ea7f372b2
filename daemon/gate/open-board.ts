/** Chooses the board that the config names. */
import { SimulatedBoard, type Board, type BoardEvents } from './board.js';
import type { GateConfig } from './shapes.js';

/**
 * Opens the board with all its strikes off. `folder`: the gate's, where pin maps of one's own may be (`boards/<name>.json`).
 * Real lines are touched only where the config names the board, or says `auto` and the device tree names one we know.
 */
export async function openBoard(config: GateConfig, events: BoardEvents, folder: string): Promise<Board> {
  if (config.board === 'simulated') return new SimulatedBoard(config.doors, events);
  // Loaded only on a board: `onoff` brings native code.
  const { openRealBoard } = await import('./real-board.js');
  return await openRealBoard(config, events, folder);
}
