/** Whose signatures stock git is to trust: the file `allowed_signers` beside the repository. */
import { join } from 'node:path';
import type { KeyId } from '../ledger/ids.js';
import { allowedSignersLine } from '../ledger/sshsig.js';
import { writeAllowedSigners } from '../store/allowed-signers.js';
import type { Store } from '../store/store.js';
import type { MainLine } from './main-line.js';

/** The meta value with the lines of the file, as a JSON array, sorted. */
export const SIGNERS_META = 'signers';

export class Signers {
  private isWritten = false;

  constructor(
    private readonly store: Store,
    private readonly main: MainLine,
    private readonly folder: string,
  ) {}

  /** Keys of every node that ever wrote here: old commits stay verifiable. Writes only what is new. */
  async keep(): Promise<void> {
    const known = new Set(JSON.parse(this.store.meta(SIGNERS_META) ?? '[]') as string[]);
    const before = known.size;
    for (const [id, { key }] of Object.entries(this.main.charter.nodes))
      known.add(allowedSignersLine(`${id}@node.invalid`, key as KeyId));
    if (known.size === before && this.isWritten) return;
    if (known.size > before) await this.store.setMeta(SIGNERS_META, JSON.stringify([...known].sort()));
    await writeAllowedSigners(join(this.folder, 'allowed_signers'), [...known]);
    this.isWritten = true;
  }
}
