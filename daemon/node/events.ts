/** Live events of a node, handed to who listens. */
import type { TownEvent } from './use-cases.js';

const LISTENERS_MAX = 256;

export class Events {
  private readonly listeners = new Set<(event: TownEvent) => void>();

  /** @returns how to stop listening */
  subscribe(listener: (event: TownEvent) => void): () => void {
    if (this.listeners.size >= LISTENERS_MAX) throw new Error(`More than ${LISTENERS_MAX} listeners.`);
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Whether anybody listens. */
  get isHeard(): boolean {
    return this.listeners.size > 0;
  }

  emit(event: TownEvent): void {
    for (const listener of [...this.listeners]) listener(event);
  }
}
