/**
 * For tests: a town of one node on disk, founded as `town init` does it and with its real dapps, whose stewards let further
 * nodes in; and what those nodes say and hear, carried by hand. The network is a plain object that tests write to.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseDriver } from '../../dapps/choose-driver.js';
import type { ContractDriver } from '../../dapps/driver.js';
import { sha256 } from '../../ledger/hash.js';
import type { JsonObject, Millis, NodeId } from '../../ledger/ids.js';
import { memberIdOf, nodeIdOf, publicKeyOf } from '../../ledger/signature.js';
import { secretOf } from '../../ledger/testing/small-town.js';
import { Repository } from '../../store/repository.js';
import { Store } from '../../store/store.js';
import { readInvitationCode, type Invitation } from '../../sync/invitation.js';
import {
  answerTopic,
  startAsking,
  stepAsker,
  type AskerOutput,
  type AskerState,
} from '../../sync/joining-asker.js';
import { joinTopic } from '../../sync/joining.js';
import type { PeerView } from '../../sync/sync-state.js';
import { systemClock, type Clock } from '../clock.js';
import { Core } from '../core.js';
import { manifestsOf, packagesOf, readPackages } from '../dapp-set.js';
import { initTown } from '../init-town.js';
import { KeyStore, readNodeKeys, type NodeKeys } from '../key-files.js';
import { MainLine } from '../main-line.js';
import { NodeInvitations } from '../node-invitations.js';
import type { NodesView } from '../node-cases.js';
import { Nodes } from '../nodes.js';
import { Sessions } from '../sessions.js';

const packagesFolder = fileURLToPath(new URL('../../../packages', import.meta.url));

/** The real time, and as much later as a test says. */
export class LateClock implements Clock {
  lateMs = 0;
  now(): Millis {
    return (systemClock.now() + this.lateMs) as Millis;
  }
  after(ms: number, callback: () => void): () => void {
    return systemClock.after(ms, callback);
  }
}

/** A peer as it stands when it is connected and has all that there is. */
export const peerView = (node: string, more: Partial<PeerView> = {}): PeerView => ({
  node: node as NodeId,
  connected: true,
  heardAt: 1,
  height: 0,
  ahead: { blocks: 0, merges: 0 },
  behind: { blocks: 0, merges: 0 },
  fetching: 0,
  ...more,
});

export class HostingTown {
  /** What the host said, and was not carried yet. */
  readonly sent: { readonly topic: string; readonly payload: string }[] = [];
  readonly warnings: string[] = [];
  changes = 0;
  views: readonly PeerView[] = [];
  brokerUrl: string | null = 'mqtt://127.0.0.1:1883';
  /** False: the host's connection is down. */
  connected = true;

  private constructor(
    readonly folder: string,
    readonly store: Store,
    readonly repository: Repository,
    readonly keys: NodeKeys,
    readonly clock: LateClock,
    readonly core: Core,
    private readonly driver: ContractDriver,
    private readonly sessions: Sessions,
    private readonly links: { invitations: NodeInvitations; nodes: Nodes },
  ) {}

  get invitations(): NodeInvitations {
    return this.links.invitations;
  }

  get nodes(): Nodes {
    return this.links.nodes;
  }

  /** A new town in a temporary folder, with one steward, merged. */
  static async found(): Promise<HostingTown> {
    const folder = mkdtempSync(join(tmpdir(), 'town-hosting-'));
    await initTown(folder, { name: 'Wólka', preset: 'makerspace', packagesFolder, clock: systemClock });
    const town = await HostingTown.open(folder);
    await town.core.appender.claim('member.found', {}, { secretKey: secretOf('ada') }, [town.keys]);
    await town.core.merger.mergeNow();
    return town;
  }

  static async open(folder: string, clock = new LateClock()): Promise<HostingTown> {
    const keys = await readNodeKeys(folder);
    const store = await Store.open(folder, { onFatal: (error) => Promise.reject(error) });
    const repository = await Repository.open(join(folder, 'ledger.git'), store);
    const main = MainLine.load(store);
    const packages = packagesOf(main.charter, await readPackages(packagesFolder));
    const { driver } = await chooseDriver({
      town: main.town,
      node: keys.id,
      log: () => undefined,
      prefer: 'process',
    });
    await driver.start(packages);
    const core = new Core({
      ...{ store, keys, main },
      clock: systemClock,
      manifests: manifestsOf(packages),
      contracts: driver,
      readObject: (oid) => repository.read(oid),
      heldByQuorum: () => undefined,
      broadcast: () => undefined,
      alarm: () => undefined,
      trouble: () => undefined,
      isHeard: () => false,
      appended: () => undefined,
      blockMade: () => undefined,
      adopted: () => void links.invitations.welcomeAdmitted(),
    });
    const keyStore = await KeyStore.open(folder);
    const sessions = new Sessions(keyStore, main, core.view, systemClock);
    const links = {} as { invitations: NodeInvitations; nodes: Nodes };
    const town = new HostingTown(folder, store, repository, keys, clock, core, driver, sessions, links);
    links.invitations = town.makeInvitations(store);
    links.nodes = town.makeNodes(keyStore);
    await core.view.settle();
    core.merger.start();
    links.invitations.start();
    return town;
  }

  /** `store`: the town's, or one that stands in for it. */
  makeInvitations(store: ConstructorParameters<typeof NodeInvitations>[0]['store']): NodeInvitations {
    const { keys, clock, core, repository } = this;
    return new NodeInvitations({
      ...{ store, keys, clock },
      main: core.main,
      readObject: (oid) => repository.read(oid),
      random: randomBytes,
      send: (topic, payload) => {
        if (this.connected) this.sent.push({ topic, payload });
        return this.connected;
      },
      changed: () => void (this.changes += 1),
      warn: (message) => void this.warnings.push(message),
    });
  }

  private makeNodes(keyStore: KeyStore): Nodes {
    const { store, keys, clock, core, sessions, links } = this;
    const broker = (): NodesView['broker'] => ({
      ...{ url: this.brokerUrl, embedded: true },
      ...{ connected: true, error: null },
    });
    return new Nodes({
      ...{ store, keyStore, keys, clock, sessions },
      ...{ main: core.main, view: core.view, appender: core.appender },
      invitations: links.invitations,
      peers: {
        views: () => this.views,
        broker,
        brokerAddress: () => this.brokerUrl,
        refusals: () => [],
        syncNow: () => Promise.resolve(),
      },
      random: randomBytes,
      settled: () => Promise.resolve(),
      changed: () => void (this.changes += 1),
    });
  }

  /** A session of a member, by the word that their key is made of. */
  session(word = 'ada'): string {
    // A copy: what a session ends with it wipes.
    const secretKey = Uint8Array.from(secretOf(word));
    return this.sessions.start(memberIdOf(publicKeyOf(secretKey)), word, secretKey).token;
  }

  claim(type: string, body: JsonObject) {
    return this.core.appender.claim(type, body, { secretKey: secretOf('ada') });
  }

  merge(): Promise<boolean> {
    return this.core.merger.mergeNow();
  }

  /** What the host answers to a message; time goes on, so that it does not come too often. */
  async hears(topic: string, payload: string, retained = false): Promise<void> {
    this.clock.lateMs += 2_000;
    this.invitations.receive({ topic, payload: Buffer.from(payload), retained });
    await this.quiet();
  }

  /** Resolves when the invitations have nothing left to do. */
  async quiet(): Promise<void> {
    // Twice: what was done may have asked for more.
    for (let turn = 0; turn < 2; turn += 1) await this.invitations.welcomeAdmitted();
  }

  /** The state of an invitation, as people are shown it. */
  stateOf(id: string): string | undefined {
    return this.nodes.list(this.session()).invitations?.find((shown) => shown.id === id)?.state;
  }

  /** How often a request to join was refused for what. */
  refused(): { readonly [code: string]: number } {
    const { refused } = this.nodes.list(this.session());
    return Object.fromEntries(refused.map(({ code, count }) => [code, count]));
  }

  /** The process ends and starts anew. */
  async restart(): Promise<HostingTown> {
    await this.stop();
    return HostingTown.open(this.folder, this.clock);
  }

  private async stop(): Promise<void> {
    await this.core.merger.stop();
    await this.invitations.stop();
    await this.driver.stop();
    await this.repository.close();
    await this.store.close();
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A node that was invited. */
export class Asker {
  private state: AskerState;
  /** What it was told, the last word last. */
  readonly told: AskerOutput[] = [];
  readonly node: NodeId;
  readonly invitation: Invitation;

  constructor(code: string, word: string, change: Partial<Invitation> = {}) {
    this.invitation = { ...readInvitationCode(code, 0), ...change };
    this.state = startAsking({
      invitation: this.invitation,
      name: `board ${word}`,
      secretKey: secretOf(word),
      sealingSecret: secretOf(`${word} sealing`),
      nonce: sha256(`${word} ${String(Math.random())}`).slice(0, 32),
    });
    this.node = nodeOf(word);
  }

  get payload(): string {
    return this.state.payload;
  }

  get topic(): string {
    return joinTopic(this.invitation.town, this.invitation.id, 'ask');
  }

  /** Asks once more, and hears what the host has said since. */
  async asks(host: HostingTown): Promise<string | undefined> {
    await host.hears(this.topic, this.payload);
    return this.listens(host);
  }

  /** Hears what was said to it. @returns the last word, in short */
  listens(host: HostingTown): string | undefined {
    for (const { topic, payload } of host.sent.splice(0)) {
      if (topic !== answerTopic(this.state)) continue;
      const turn = stepAsker(this.state, {
        ...{ t: 'message', topic, payload },
        retained: false,
        now: host.clock.now(),
      });
      this.state = turn.state;
      this.told.push(...turn.outputs);
    }
    const last = this.told.filter(({ t }) => t !== 'ignored').at(-1);
    return last?.t === 'failed' ? last.error.code : last?.t;
  }
}

/** The id of the node whose key is made of a word. */
export const nodeOf = (word: string): NodeId => nodeIdOf(publicKeyOf(secretOf(word)));
