/** Objects of a state that came ahead of its history, as a simulated disk keeps them. */
import type { GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import type { LateObjectStore } from '../node/state-walk.js';

export class LateInMemory implements LateObjectStore {
  private readonly objects = new Map<Oid, GitObject>();

  async prepare(): Promise<void> {}

  has(oid: Oid): boolean {
    return this.objects.has(oid);
  }

  async read(oid: Oid): Promise<GitObject> {
    const object = this.objects.get(oid);
    if (object === undefined) throw new TownError('no-such-object', `The object ${oid} is not here.`);
    return object;
  }

  async put(objects: readonly GitObject[]): Promise<void> {
    for (const object of objects) this.objects.set(object.oid, object);
  }

  async clear(): Promise<void> {
    this.objects.clear();
  }

  async close(): Promise<void> {}
}
