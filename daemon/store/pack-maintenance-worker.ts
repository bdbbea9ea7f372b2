/** A thread for one piece of work on packs: combining some, or removing those that were combined. */
import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../ledger/ids.js';
import { ForeignPack, combinePacks } from './pack-combine.js';
import { packDisk, type PackDisk } from './pack-disk.js';
import type { FromMaintenance, MaintenanceJob } from './pack-maintenance.js';
import { removeSuperseded } from './superseded.js';

/** The thread rests as long as the disk took, up to this: others want the disk too. */
const restMsMax = 250;

const port = parentPort;
invariant(port !== null, 'this file runs as a worker thread');
const { job } = workerData as { job: MaintenanceJob };
const sleeper = new Int32Array(new SharedArrayBuffer(4));
let syncFailed = false;

const noted = <A extends unknown[]>(sync: (...args: A) => void): ((...args: A) => void) => {
  return (...args) => {
    try {
      sync(...args);
    } catch (error) {
      syncFailed = true;
      throw error;
    }
  };
};
const disk: PackDisk = { ...packDisk, sync: noted(packDisk.sync), syncFolder: noted(packDisk.syncFolder) };

function answer(): FromMaintenance {
  try {
    if ('remove' in job) return { t: 'removed', packs: removeSuperseded(job.remove, disk) };
    const rest = (ms: number): void => void Atomics.wait(sleeper, 0, 0, Math.min(ms, restMsMax));
    return { t: 'combined', combined: combinePacks(job.combine, disk, rest) };
  } catch (error) {
    if (error instanceof ForeignPack) return { t: 'foreign', pack: error.pack };
    const { code, message } = error as NodeJS.ErrnoException;
    return { t: 'failed', code: String(code ?? ''), message: String(message), syncFailed };
  }
}

port.postMessage(answer());
