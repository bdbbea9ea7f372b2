/**
 * Who was taken out of the town, or lost, and listens on at the broker with every key it ever had: once those that stay have agreed on
 * a key, it reads nothing of what they say.
 */
import { openEnvelope } from '../ledger/envelope.js';
import { hexOf } from '../ledger/hash.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { TownKeys } from '../node/town-keys.js';
import { looksLikeGift } from '../sync/town-key-gift.js';
import type { SimulatedNode, SimulatedProcess } from './simulated-node.js';
import type { Watch } from './watch.js';

/** What was read of a card that is off, and does not change: it is asked for with every message. */
const onCards = new WeakMap<
  SimulatedNode,
  { readonly text: string | null; readonly keys: readonly Uint8Array[] }
>();

/** The keys that a node knows: those of its process, or those on its card. */
function keysOf(node: SimulatedNode): readonly Uint8Array[] {
  const { process, disk, keys } = node;
  const of = (ring: TownKeys | null): readonly Uint8Array[] => [
    ...(ring?.opening() ?? []).map(({ key }) => key),
    keys.townKey,
  ];
  if (process !== null) return of(process.townKeys);
  const known = onCards.get(node);
  if (known?.text === disk.townKeys) return known.keys;
  const never = (): Promise<void> => Promise.resolve();
  const found = of(TownKeys.keptBy(disk.townKeys, keys.townKey, never));
  onCards.set(node, { text: disk.townKeys, keys: found });
  return found;
}

/** Whether all have one key, and nobody who is out knows it as far as they can tell. */
export const areAgreed = (processes: readonly SimulatedProcess[]): boolean =>
  new Set(processes.map(({ townKeys }) => hexOf(townKeys.current.key))).size <= 1 &&
  processes.every(({ townKeys, core }) => {
    const nodes = Object.keys(core.main.charter.nodes) as NodeId[];
    return townKeys.strangers(new Set(nodes)).length === 0;
  });

export class Outcasts {
  private out: readonly SimulatedNode[] = [];
  /** Who stays: what others say is not looked at. */
  private stay: ReadonlySet<NodeId> = new Set();

  constructor(
    private readonly watch: Watch,
    private readonly everyone: readonly SimulatedNode[],
  ) {}

  /** Those that stay have agreed on a key. */
  agreed(processes: readonly SimulatedProcess[]): void {
    const [first] = processes;
    if (first === undefined) return;
    const { nodes } = first.core.main.charter;
    this.stay = new Set(Object.keys(nodes) as NodeId[]);
    this.out = this.everyone.filter(({ id }) => nodes[id] === undefined);
    const current = hexOf(first.townKeys.current.key);
    for (const node of this.out)
      if (keysOf(node).some((key) => hexOf(key) === current))
        this.watch.breach(`node ${node.index} ${node.id} is out of the town and knows its key`);
  }

  /** Something is given to a broker. */
  hear(from: NodeId, topic: string, text: string): void {
    if (!this.stay.has(from) || this.watch.isApart(from) || text.length === 0) return;
    if (looksLikeGift({ topic, payload: Buffer.from(text), retained: false })) return;
    const said = saidIn(text);
    if (said === null) return;
    // Most outcasts know the same keys.
    const tried = new Set<string>();
    for (const node of this.out)
      for (const key of keysOf(node)) {
        const name = hexOf(key);
        if (tried.has(name)) continue;
        tried.add(name);
        if (opens(key, topic, said))
          this.watch.breach(`node ${node.index} ${node.id} is out of the town and reads what ${from} says`);
      }
  }
}

function saidIn(text: string): JsonObject | null {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return null;
  }
}

function opens(key: Uint8Array, topic: string, said: JsonObject): boolean {
  try {
    openEnvelope(key, said, topic);
    return true;
  } catch {
    return false;
  }
}
