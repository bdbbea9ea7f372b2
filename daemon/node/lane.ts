/** Work that goes on by turns, one at a time, as long as somebody asked for another turn since the last one began. */
export class Lane {
  private running: Promise<void> | null = null;
  private again = false;
  private isHalted = false;
  private stopped = false;

  /** @param turn does what can be done by now; it must not fail */
  constructor(private readonly turn: () => Promise<void>) {}

  stop(): void {
    this.stopped = true;
  }

  /** One turn more; the first step of it is done at once where none is running. */
  pump(): void {
    this.again = true;
    if (this.running !== null || this.isHalted) return;
    this.running = this.run().finally(() => (this.running = null));
  }

  private async run(): Promise<void> {
    while (this.again && !this.isHalted && !this.stopped) {
      this.again = false;
      await this.turn();
    }
  }

  /** Runs something while no turn is; one that is running is waited for. Not from within a turn, and one at a time. */
  async halted(task: () => Promise<void>): Promise<void> {
    this.isHalted = true;
    try {
      await this.running;
      await task();
    } finally {
      this.isHalted = false;
      if (this.again) this.pump();
    }
  }
}
