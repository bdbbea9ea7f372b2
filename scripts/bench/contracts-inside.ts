/**
 * The town's own contracts in this process, for benches that fill a large town: the same code and the same answers as from their
 * own processes, without a line through a pipe for each question.
 */
import type { FromContract, ToContract } from '../../daemon/dapps/protocol.js';
import { invariant } from '../../daemon/ledger/ids.js';
import { doorAccess } from '../../dapps/door-access/door-access.js';
import { gigs } from '../../dapps/gigs/gigs.js';
import { membership } from '../../dapps/membership/membership.js';
import { answerCall, type Contract } from '../../dapps/sdk/typescript/contract.js';

type Answer = Extract<ToContract, { t: 'value' | 'page' | 'refused' }>;

class Inside {
  private said: (message: FromContract) => void = () => undefined;
  private answered: (answer: Answer) => void = () => undefined;

  constructor(private readonly contract: Contract) {}

  exchange(message: ToContract): Promise<FromContract> {
    return new Promise((resolve) => {
      this.said = resolve;
      if (message.t !== 'apply' && message.t !== 'test' && message.t !== 'query')
        return this.answered(message);
      const ask = (question: FromContract): Promise<Answer> =>
        new Promise((answered) => {
          this.answered = answered;
          this.said(question);
        });
      void answerCall(this.contract, message, ask).then((result) => this.said(result));
    });
  }
}

/** All bundled dapps; one call of each at a time, as the node asks them. */
export class ContractsInside {
  private readonly dapps = new Map([
    ['door-access', new Inside(doorAccess)],
    ['gigs', new Inside(gigs)],
    ['membership', new Inside(membership)],
  ]);

  async exchange(dapp: string, message: ToContract): Promise<FromContract> {
    const contract = this.dapps.get(dapp);
    invariant(contract !== undefined, `the dapp ${dapp} is bundled`);
    return contract.exchange(message);
  }

  async stop(): Promise<void> {
    // Nothing runs beside this process.
  }
}
