/** What the gate needs of a board: named lines that it sets, buttons and readers that it hears. */
import type { DoorWiring } from './shapes.js';

/** What a reader gave: a number, or bits that make no badge. */
export type Read = { readonly number: string } | { readonly badRead: string };

export interface BoardEvents {
  /** The exit button of this door was pressed. */
  readonly exit: (door: string) => void;
  /** A badge was held to the reader of this door. */
  readonly read: (door: string, read: Read) => void;
  /** A reader or line has failed; the gate goes on with the rest. */
  readonly problem: (code: string, message: string) => void;
}

export interface Board {
  readonly name: string;
  readonly simulated: boolean;
  /** Sets an output; all are off before the first call. Synchronous: returns when the line has its level. Throws when it could not. */
  setLine(line: string, on: boolean): void;
  /** All outputs off, inputs let go. Synchronous, never throws, may be called twice. */
  close(): void;
}

/** A board in memory, for development and for doors without hardware. */
export class SimulatedBoard implements Board {
  readonly name = 'simulated';
  readonly simulated = true;
  readonly #lines = new Map<string, boolean>();

  constructor(
    private readonly doors: readonly DoorWiring[],
    private readonly events: BoardEvents,
  ) {
    for (const door of doors) this.#lines.set(door.strike, false);
  }

  setLine(line: string, on: boolean): void {
    if (!this.#lines.has(line)) throw new Error(`The simulated board has no output "${line}".`);
    this.#lines.set(line, on);
  }

  /** The level of an output. */
  line(line: string): boolean {
    return this.#lines.get(line) ?? false;
  }

  /** Presses the button on this input line. */
  press(line: string): void {
    const door = this.doors.find((wiring) => wiring.exitButton === line);
    if (door !== undefined) this.events.exit(door.id);
  }

  close(): void {
    for (const line of this.#lines.keys()) this.#lines.set(line, false);
  }
}
