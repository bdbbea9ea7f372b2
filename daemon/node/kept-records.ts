/** Which keys of sealed records this node keeps by the adopted state: those that are neither erased nor past their retention. */
import { firstKeptMonth, handlesIn } from '../ledger/record-key.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { isErased, mayReadRecords } from './record-rules.js';

export class KeptRecords {
  private heldAt: { readonly height: number; readonly handles: ReadonlySet<string> } | null = null;

  constructor(
    private readonly main: MainLine,
    private readonly keys: NodeKeys,
  ) {}

  /** Whether the charter lets this node read what others wrote. */
  get mayRead(): boolean {
    return mayReadRecords(this.main.charter, this.keys.id);
  }

  /** Neither erased nor past its retention. */
  isWanted({ subject, month, handle }: Omit<PrivateKeyRow, 'key'>): boolean {
    const { state } = this.main;
    return !isErased(state, subject) && (month >= this.firstMonth || this.held().has(handle));
  }

  /** The first month whose keys are kept, whatever they are for: `YYYY-MM`. */
  get firstMonth(): string {
    const { head, charter } = this.main;
    return firstKeptMonth(head.time, charter.records.retentionMonths);
  }

  /** What the state itself names is not over: the profile of a person who is in the register, the reason of a suspension. */
  held(): ReadonlySet<string> {
    const { head, state } = this.main;
    if (this.heldAt?.height !== head.height) {
      const handles = new Set<string>();
      for (const { value } of state.rows()) for (const handle of handlesIn(value)) handles.add(handle);
      this.heldAt = { height: head.height, handles };
    }
    return this.heldAt.handles;
  }
}
