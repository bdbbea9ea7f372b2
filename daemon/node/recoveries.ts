/** Recovery at this node, as people ask for it. */
import type { JsonObject, Json } from '../ledger/ids.js';
import { parseRecovery } from '../ledger/recovery.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import type { PeerView } from '../sync/sync-state.js';
import type { NodeConfig } from './config.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import type { RecoveryApplied, RecoveryCases, RecoveryNodeView, RecoveryPlace } from './recovery-cases.js';
import { forgetRestored, type Restored } from './restored.js';
import type { Sessions } from './sessions.js';

export interface RecoveriesParts {
  readonly folder: string;
  readonly main: MainLine;
  readonly merger: Merger;
  readonly keys: NodeKeys;
  readonly config: NodeConfig;
  readonly sessions: Sessions;
  readonly restored: Restored | null;
  readonly views: () => readonly PeerView[];
}

export class Recoveries implements RecoveryCases {
  constructor(private readonly parts: RecoveriesParts) {}

  async place(s: string): Promise<RecoveryPlace> {
    const { main, sessions } = this.parts;
    sessions.need(s);
    const { charter, head, town, epoch, divergedFrom } = main;
    const { quorum, recovery = null, name } = charter;
    return {
      town: { id: town, name },
      epoch,
      nextEpoch: Math.max(epoch, divergedFrom?.epoch ?? 0) + 1,
      height: head.height,
      parent: head.id,
      quorum,
      keys: recovery,
      nodes: this.nodes(),
    };
  }

  async apply(s: string, value: JsonObject, mayLeave: boolean): Promise<RecoveryApplied> {
    const { folder, main, merger, keys, sessions, restored } = this.parts;
    sessions.need(s);
    const recovery = parseRecovery(value);
    const { epoch, height, validators } = recovery.statement;
    const standing = await merger.recover(recovery, mayLeave);
    const joins = standing === 'begins' || standing === 'ahead';
    const restart = restored !== null && joins && validators.includes(keys.id);
    if (restart) await forgetRestored(folder);
    return { standing, epoch: Math.max(epoch, main.epoch), height, restart };
  }

  private nodes(): readonly RecoveryNodeView[] {
    const { main, keys, config } = this.parts;
    const { nodes, validators } = main.charter;
    const views = new Map<string, PeerView>(this.parts.views().map((view) => [view.node, view]));
    const known = Object.entries(nodes).map(([id, { name }]): RecoveryNodeView => {
      const self = id === keys.id;
      const view = views.get(id);
      return {
        ...{ id, name, validator: validators.includes(id), self, brings: null },
        connected: self || (view?.connected ?? false),
        height: self ? main.head.height : (view?.height ?? null),
      };
    });
    if (nodes[keys.id]) return known;
    const brings = {
      name: config.nodeName,
      key: keys.key,
      sealing: sealingKeyOf(keys.sealingSecret),
      roles: ['door'],
    } satisfies Json;
    const { height } = main.head;
    const own = { id: keys.id, name: config.nodeName, validator: false, self: true, connected: true };
    return [...known, { ...own, height, brings }];
  }
}
