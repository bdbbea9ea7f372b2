/** For tests: what this process holds in memory once everything that is of no use is gone. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes in the heap and outside of it; those outside are given back a moment after what held them. */
export async function bytesHeld(): Promise<number> {
  for (let i = 0; i < 3; i += 1) {
    collect();
    await sleep(20);
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
