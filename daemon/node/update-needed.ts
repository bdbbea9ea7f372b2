/** What a node says whose town has gone on to a protocol that its program does not speak. */
import { TownError } from '../ledger/ids.js';
import { SPOKEN } from '../sync/hello.js';

/** Why it records no claims. */
export const updateRefusal = (version: number): TownError =>
  new TownError(
    'update',
    `The town has gone on to protocol ${version}, and the program of this node speaks ${SPOKEN.to}: nothing is recorded here.`,
    'Update the program and start it again. The doors go on meanwhile.',
  );
