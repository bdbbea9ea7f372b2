/** The strikes: off unless a pulse runs. */
import type { Board } from './board.js';
import type { DoorWiring } from './shapes.js';

export interface StrikeMove {
  readonly door: string;
  readonly on: boolean;
  readonly record?: string;
}

export class Strikes {
  readonly #pulses = new Map<string, NodeJS.Timeout>();

  /** `moved` is told of every pulse, also of one that only extends another; `failed` when a line did not obey. */
  constructor(
    private readonly board: Board,
    private readonly moved: (move: StrikeMove) => void,
    private readonly failed: (message: string) => void,
  ) {}

  isOn(door: string): boolean {
    return this.#pulses.has(door);
  }

  /** Energises the strike for `pulseMs`; during a pulse, for `pulseMs` from now. Never throws. */
  pulse(wiring: DoorWiring, record: string): void {
    const running = this.#pulses.get(wiring.id);
    // The end is armed before the line moves: nothing that fails in between may leave it on.
    if (running !== undefined) clearTimeout(running);
    this.#pulses.set(
      wiring.id,
      setTimeout(() => this.#end(wiring), wiring.pulseMs),
    );
    if (this.#set(wiring, true)) this.moved({ door: wiring.id, on: true, record });
    else this.#end(wiring);
  }

  /** Ends every pulse now. Synchronous, never throws. */
  allOff(doors: readonly DoorWiring[]): void {
    for (const timer of this.#pulses.values()) clearTimeout(timer);
    for (const wiring of doors) {
      const was = this.#pulses.delete(wiring.id);
      if (this.#set(wiring, false) && was) this.moved({ door: wiring.id, on: false });
    }
    this.#pulses.clear();
  }

  #end(wiring: DoorWiring): void {
    clearTimeout(this.#pulses.get(wiring.id));
    this.#pulses.delete(wiring.id);
    if (this.#set(wiring, false)) this.moved({ door: wiring.id, on: false });
  }

  #set(wiring: DoorWiring, on: boolean): boolean {
    try {
      this.board.setLine(wiring.strike, on);
      return true;
    } catch (error) {
      this.failed(`The strike of ${wiring.id} could not be turned ${on ? 'on' : 'off'}: ${String(error)}`);
      return false;
    }
  }
}
