/** What of a state's tree is not here: folders that are here whole are not looked into, so that only what changed is fetched. */
import { parseTree, type GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import { WANT_OBJECTS_MAX } from '../sync/bodies.js';

/** Objects that came ahead of their history. */
export interface LateObjectStore {
  /** Finds what an earlier start left. */
  prepare(): Promise<void>;
  has(oid: Oid): boolean;
  read(oid: Oid): Promise<GitObject>;
  put(objects: readonly GitObject[]): Promise<void>;
  clear(): Promise<void>;
  /** What is kept stays for the next start. */
  close(): Promise<void>;
}

type ReadObject = (oid: Oid) => Promise<GitObject>;

interface Place {
  readonly oid: Oid;
  readonly isFolder: boolean;
}

export class StateWalk {
  private readonly missing = new Map<Oid, Place>();

  constructor(
    private readonly late: LateObjectStore,
    /** From the repository: what is there is there with all that is below it. */
    private readonly readObject: ReadObject,
  ) {}

  /** Names of what is to be fetched next; none: all is here. */
  get next(): readonly Oid[] {
    const names: Oid[] = [];
    for (const oid of this.missing.keys()) if (names.push(oid) === WANT_OBJECTS_MAX) break;
    return names;
  }

  /** Looks for what is missing at and below a tree. @throws TownError `bad-tree` */
  async look(root: Oid): Promise<void> {
    const places: Place[] = [{ oid: root, isFolder: true }];
    for (let place; (place = places.pop()) !== undefined;) {
      if (this.missing.has(place.oid)) continue;
      if (this.late.has(place.oid)) {
        if (place.isFolder) places.push(...childrenOf(await this.late.read(place.oid)));
      } else if (!(await this.isInRepository(place.oid))) this.missing.set(place.oid, place);
    }
  }

  /** An object has come, and is kept. @throws TownError `bad-tree` */
  async came({ oid, type, data }: GitObject): Promise<void> {
    const place = this.missing.get(oid);
    this.missing.delete(oid);
    if (place?.isFolder !== true || type !== 'tree') return;
    for (const child of childrenOf({ oid, type, data })) {
      if (this.missing.has(child.oid)) continue;
      if (child.isFolder) await this.look(child.oid);
      else if (!this.late.has(child.oid) && !(await this.isInRepository(child.oid)))
        this.missing.set(child.oid, child);
    }
  }

  private async isInRepository(oid: Oid): Promise<boolean> {
    try {
      await this.readObject(oid);
      return true;
    } catch (error) {
      if (error instanceof TownError) return false;
      throw error;
    }
  }
}

const childrenOf = ({ data }: GitObject): Place[] =>
  parseTree(data).map(({ oid, kind }) => ({ oid, isFolder: kind === 'folder' }));
