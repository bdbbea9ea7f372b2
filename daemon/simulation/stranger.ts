/** What somebody does who has nothing but the genesis: reads a node's whole history and believes none of it. */
import { parseCertificate } from '../consensus/certificate.js';
import { proveMerge } from '../consensus/proof.js';
import { NO_BLOCK, entriesText, readBlock, type Block } from '../ledger/block.js';
import { keyOfNode } from '../ledger/charter.js';
import type { KeyId, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { invariant } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import { confirmMerge, readMerge, type Genesis } from '../ledger/merge.js';
import { readBranch } from '../ledger/order.js';
import { epochOf } from '../ledger/recovery.js';
import { replay } from '../ledger/replay.js';
import { State } from '../ledger/state.js';
import type { StoreReads } from '../store/reads.js';
import { Conversations } from '../node/drive.js';
import { MAIN } from '../node/main-line.js';
import type { SimulatedDapp } from './founding.js';

const BLOCKS_MAX = 10_000;

type Reads = Pick<StoreReads, 'merge' | 'certificate' | 'blocksOfMerge' | 'blockEntries'>;

/**
 * Verifies every certificate, block and entry and replays every merge from genesis on.
 * @returns the state it arrives at; throws at the first thing that does not hold
 */
export async function replayAsStranger(genesis: Genesis, store: Reads, dapp: SimulatedDapp): Promise<State> {
  const state = new State();
  state.apply(genesis.writes);
  const contract = dapp.contract();
  const conversations = new Conversations({ exchange: async (_dapp, message) => contract(message) });
  const manifests = new Map([[dapp.manifest.name, dapp.manifest]]);
  const town = genesis.merge.content;
  const merges = new Map<Sha256, { readonly oid: Oid; readonly time: Millis }>();
  const tips = new Map<NodeId, Block>();
  let { tree } = genesis;
  let head: { readonly id: Sha256; readonly oid: Oid; readonly time: Millis } = genesis.merge;
  merges.set(head.id, head);
  for (let height = 1; ; height += 1) {
    const row = store.merge(height);
    if (row === null) return state;
    const { charter, recovery } = proveMerge(parseCertificate(store.certificate(height) ?? ''), row.raw, {
      ...{ town, line: MAIN, height: height - 1, id: head.id },
      epoch: epochOf(state),
      charter: readCharter(state),
    });
    const keyOf = (node: NodeId): KeyId | undefined => keyOfNode(charter, node);
    const claimed = readMerge(row.raw, keyOf);
    const before = new Map(tips);
    const blocks = store.blocksOfMerge(height, BLOCKS_MAX).map(({ id, node, raw, base }) => {
      const tip = tips.get(node);
      const main = merges.get(base)?.oid;
      const texts = store
        .blockEntries(id)
        .map(({ bytes }) => ({ text: Buffer.from(bytes).toString('utf8') }));
      const parents = { prev: tip?.oid ?? null, main: tip?.base === base ? null : (main ?? null) };
      const block = readBlock(raw, Buffer.from(entriesText(texts)), keyOf(node) as KeyId, parents);
      invariant(block.prev === (tip?.id ?? NO_BLOCK), 'a branch is a chain');
      tips.set(node, block);
      return block;
    });
    const heads = claimed.heads.map((id) => blocks.find((block) => block.id === id) as Block);
    const parts = heads.map(({ node }) => {
      const mark = readBranch(state, node, MAIN);
      invariant(mark?.head === before.get(node)?.id, 'a branch goes on where the last merge left it');
      const tau = (mark?.tau ?? 0) as Millis;
      return { node, line: MAIN, tau, blocks: blocks.filter((block) => block.node === node) };
    });
    const baseTime = (base: Sha256): Millis => merges.get(base)?.time ?? (0 as Millis);
    const place = { town, line: MAIN, height, time: claimed.time, parent: head.id };
    const result = await conversations.run(
      replay({ ...place, state, parts, baseTime, manifests, recovery: recovery?.statement }),
    );
    const built = confirmMerge(claimed, { main: head.oid, heads: heads.map(({ oid }) => oid) }, tree, result);
    state.apply(built.writes);
    ({ tree } = built);
    head = built.merge;
    merges.set(head.id, head);
  }
}
