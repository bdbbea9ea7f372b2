/** The real clock, where it is not just the runtime's timer. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { systemClock } from './clock.js';

t.test('a wait of years is not over at once', async (t) => {
  let called = 0;
  // A proposal with such a time would count as ready.
  const cancels = [2 ** 31, 2 ** 33 + 5, 1e15].map((ms) => systemClock.after(ms, () => (called += 1)));
  await sleep(30);
  t.equal(called, 0);
  for (const cancel of cancels) cancel();
  await new Promise<void>((resolve) => void systemClock.after(1, resolve));
  t.equal(called, 0, 'and a short one is');
});
