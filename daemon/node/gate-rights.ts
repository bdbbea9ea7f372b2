/** Who may open which door, as the gate is told it: the dapp's answer on the view, sent whenever it becomes another. */
import type { BadgeRight, RightsTable } from '../gate/shapes.js';
import { canonicalize } from '../ledger/canonical.js';
import { hexOf } from '../ledger/hash.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import type { Store } from '../store/store.js';
import type { Clock } from './clock.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { ABOUT } from './names.js';
import type { PrivateRecords } from './private-records.js';
import type { View } from './view.js';

const RIGHTS_DELAY_MS = 20;
const RIGHTS_RETRY_MS = 2_000;
const RIGHTS_PAGES_MAX = 1000;

/** As the door-access dapp gives it: reasons are sealed. */
type SealedRight = Omit<BadgeRight, 'reason'> & { readonly reason?: Json };

interface RightsPage {
  readonly doors: RightsTable['doors'];
  readonly badges: { readonly [badge: string]: SealedRight };
  readonly next?: string | null;
}

export interface GateRightsParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly view: View;
  readonly records: PrivateRecords;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** The version of the table that the gate has; 0 where it has none or is not heard. */
  readonly tableOfGate: () => number;
  /** Resolves when the gate has it. */
  readonly send: (table: RightsTable) => Promise<unknown>;
  readonly warn: (error: unknown, message: string) => void;
}

export class GateRights {
  private cancelRefresh: (() => void) | null = null;
  /** The table in the gate may be older than the view. */
  private isOld = false;
  private isRefreshing = false;
  private stopped = false;
  private sentRights = '';

  constructor(private readonly parts: GateRightsParts) {}

  /** From now on the gate's table follows the view. */
  follow(): void {
    this.parts.view.watch(() => this.refreshSoon());
    this.refreshSoon();
  }

  /** Reasons that could be read may be gone, or the other way round. */
  recordsChanged(): void {
    if (this.sentRights !== '') this.refreshSoon();
  }

  stop(): void {
    this.stopped = true;
    this.cancelRefresh?.();
  }

  /** The table in the gate may be older than the view. */
  refreshSoon(ms = RIGHTS_DELAY_MS): void {
    this.isOld = true;
    if (this.cancelRefresh || this.isRefreshing || this.stopped) return;
    this.cancelRefresh = this.parts.clock.after(ms, () => void this.refreshNow());
  }

  /** One at a time; what fails is tried again, or a revoked badge would go on opening until something else changes. */
  private async refreshNow(): Promise<void> {
    this.cancelRefresh = null;
    this.isRefreshing = true;
    this.isOld = false;
    let waitMs = RIGHTS_DELAY_MS;
    try {
      await this.refresh();
    } catch (error) {
      this.parts.warn(
        error,
        'The rights table could not be renewed: the gate goes on by its last one meanwhile.',
      );
      this.sentRights = '';
      this.isOld = true;
      waitMs = RIGHTS_RETRY_MS;
    }
    this.isRefreshing = false;
    if (this.isOld) this.refreshSoon(waitMs);
  }

  private async refresh(): Promise<void> {
    const { main, keys, store, clock } = this.parts;
    if (keys.badgeKey === null) return;
    const derived = await this.rights();
    const text = canonicalize(derived as unknown as Json);
    if (text === this.sentRights) return;
    const version = Math.max(Number(store.meta('rights-version') ?? '0'), this.parts.tableOfGate()) + 1;
    await store.setMeta('rights-version', String(version));
    const table: RightsTable = {
      version,
      town: main.town,
      issuedAt: clock.now(),
      badgeKey: hexOf(keys.badgeKey),
      ...derived,
    };
    this.sentRights = text;
    await this.parts.send(table);
  }

  /** Asks the door-access dapp, page by page. */
  private async rights(): Promise<Pick<RightsTable, 'doors' | 'badges'>> {
    let doors: RightsTable['doors'] = {};
    const badges: { [badge: string]: BadgeRight } = {};
    let after: string | null = null;
    for (let page = 0; page < RIGHTS_PAGES_MAX; page += 1) {
      const args: JsonObject = after === null ? {} : { after };
      const value = (await this.parts.view.ask('door-access', 'rights', args)) as unknown as RightsPage;
      doors = { ...doors, ...value.doors };
      for (const [badge, right] of Object.entries(value.badges)) badges[badge] = this.rightOf(right);
      after = value.next ?? null;
      if (after === null) break;
    }
    return { doors, badges };
  }

  /** With the reason in plain, for whoever stands at the door; without it where this node cannot open it. */
  private rightOf({ reason, ...right }: SealedRight): BadgeRight {
    const about = right.status === 'suspended' ? ABOUT.suspension : ABOUT.revocation;
    const plain = reason === undefined ? null : this.parts.records.open(about, reason);
    return typeof plain === 'string' ? { ...right, reason: plain } : right;
  }
}
