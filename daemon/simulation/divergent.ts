/** What a dapp answers that is not the one that the town pinned: now and then it writes another value. */
import type { FromContract } from '../ledger/contract-protocol.js';

export function divergent(answer: FromContract): FromContract {
  if (answer.t !== 'accept') return answer;
  const writes = answer.writes.map((write) =>
    typeof write.value === 'number' ? { ...write, value: write.value + 1 } : write,
  );
  return { ...answer, writes };
}
