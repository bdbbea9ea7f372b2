/** Drives the ledger's generators: carries their questions to the contracts and the answers back. */
import type { Dialogue } from '../ledger/judge.js';
import { invariant } from '../ledger/ids.js';
import type { FromContract, ToContract } from '../ledger/contract-protocol.js';

/** As much of a driver as a dialogue needs. */
export interface Exchange {
  exchange(dapp: string, message: ToContract): Promise<FromContract>;
}

/** One call at a time for each dapp: a conversation of several messages is never mixed with another. */
export class Conversations {
  private readonly tails = new Map<string, Promise<void>>();

  constructor(private readonly contracts: Exchange) {}

  /** Runs a dialogue to its end. Throws what the contracts' driver throws; the dialogue is ended then. */
  async run<Result>(dialogue: Dialogue<Result>): Promise<Result> {
    let release: (() => void) | null = null;
    try {
      for (let turn = dialogue.next(); ;) {
        if (turn.done) return turn.value;
        const { dapp, message } = turn.value;
        const opens = message.t === 'apply' || message.t === 'test' || message.t === 'query';
        invariant(opens === (release === null), 'a call is over before the next one begins');
        if (opens) release = await this.enter(dapp);
        const answer = await this.contracts.exchange(dapp, message);
        if (answer.t !== 'get' && answer.t !== 'list') {
          release?.();
          release = null;
        }
        turn = dialogue.next(answer);
      }
    } finally {
      release?.();
    }
  }

  private async enter(dapp: string): Promise<() => void> {
    const before = this.tails.get(dapp) ?? Promise.resolve();
    let release = (): void => undefined;
    const mine = new Promise<void>((resolve) => (release = resolve));
    const tail = before.then(() => mine);
    this.tails.set(dapp, tail);
    await before;
    return () => {
      release();
      if (this.tails.get(dapp) === tail) this.tails.delete(dapp);
    };
  }
}

/** Runs tasks one after another; at most `limit` wait. */
export class Serial {
  private tail: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  constructor(private readonly limit: number) {}

  get length(): number {
    return this.waiting;
  }

  /** @returns what the task gives; throws what `full` makes when too many wait */
  run<T>(task: () => Promise<T>, full: () => Error): Promise<T> {
    if (this.waiting >= this.limit) return Promise.reject(full());
    this.waiting += 1;
    const result = this.tail.then(task);
    this.tail = result.then(
      () => (this.waiting -= 1),
      () => (this.waiting -= 1),
    );
    return result;
  }
}
