/** For tests: a town's side of joining on a real broker, its steward a function of the test's. No daemon, no store. */
import { randomBytes } from 'node:crypto';
import { makerspaceCharter } from '../../ledger/charter.js';
import { hexOf, sha256 } from '../../ledger/hash.js';
import type { Millis, Sha256 } from '../../ledger/ids.js';
import { makeGenesis } from '../../ledger/merge.js';
import { nodeIdOf, publicKeyOf } from '../../ledger/signature.js';
import { invitationCode, type Invitation } from '../../sync/invitation.js';
import {
  startHost,
  stepHost,
  type Asker,
  type HostInput,
  type HostOutput,
  type HostState,
} from '../../sync/joining-host.js';
import { joinAskFilter, type Welcome } from '../../sync/joining.js';
import { MqttTransport } from '../../sync/mqtt-transport.js';

const HOUR_MS = 3_600_000;

export interface FoundedDapp {
  readonly name: string;
  readonly version: string;
  readonly digest: Sha256;
}

export class JoiningHostOverMqtt {
  readonly secretKey = new Uint8Array(randomBytes(32));
  readonly welcome: Welcome;
  readonly asked: Asker[] = [];
  private readonly transport: MqttTransport;
  private state: HostState;

  /** @param onAsked what the steward does when a node waits: told once for each invitation */
  constructor(
    dapps: readonly FoundedDapp[],
    private readonly broker: string,
    private readonly onAsked: (host: JoiningHostOverMqtt, id: string, asker: Asker) => void,
  ) {
    const { secretKey } = this;
    const key = publicKeyOf(secretKey);
    const node = nodeIdOf(key);
    const charter = makerspaceCharter({ name: 'Wólka', node: { id: node, key, name: 'gatehouse' }, dapps });
    const nonce = sha256(randomBytes(32));
    const { merge } = makeGenesis(charter, nonce, node, Date.now() as Millis, secretKey);
    this.welcome = {
      town: merge.town,
      genesis: { raw: Buffer.from(merge.raw).toString('base64'), charter, nonce },
      checkpoint: { height: 0, id: merge.id },
      townKey: sha256('town key'),
      badgeKey: sha256('badge key'),
      nodes: charter.nodes,
    };
    this.state = startHost({ town: merge.town, secretKey, records: [] });
    this.transport = new MqttTransport({
      url: broker,
      subscriptions: [joinAskFilter(merge.town)],
      events: {
        connected: () => undefined,
        disconnected: () => undefined,
        tooLarge: () => undefined,
        delivered: ({ topic, payload, retained }) =>
          this.step({
            t: 'message',
            topic,
            payload: Buffer.from(payload).toString('utf8'),
            retained,
            now: Date.now(),
          }),
      },
    });
    this.transport.start();
  }

  stop(): Promise<void> {
    return this.transport.stop();
  }

  invite(role: Invitation['role'] = 'door', brokers: readonly string[] = [this.broker]): string {
    const invitation: Invitation = {
      v: 1,
      town: this.state.town,
      name: 'Wólka',
      host: this.state.node,
      brokers,
      checkpoint: this.welcome.checkpoint as Invitation['checkpoint'],
      id: hexOf(randomBytes(8)),
      secret: randomBytes(32).toString('base64url'),
      expires: (Date.now() + HOUR_MS) as Millis,
      role,
    };
    this.step({ t: 'invite', invitation, now: Date.now() });
    return invitationCode(invitation);
  }

  /** Lets the node in, under this name. */
  approve(id: string, { key, node }: Asker, name: string): void {
    const nodes = { ...this.welcome.nodes, [node]: { name, key, roles: ['door'] } };
    this.step({
      t: 'approve',
      id,
      key,
      welcome: { ...this.welcome, nodes },
      ephemeral: new Uint8Array(randomBytes(32)),
      now: Date.now(),
    });
  }

  step(input: HostInput): void {
    const { state, outputs } = stepHost(this.state, input);
    this.state = state;
    for (const output of outputs) this.carryOut(output);
  }

  private carryOut(output: HostOutput): void {
    if (output.t === 'send') this.transport.publish(output.topic, output.payload, false);
    if (output.t !== 'asked') return;
    this.asked.push(output.asker);
    this.onAsked(this, output.id, output.asker);
  }
}
