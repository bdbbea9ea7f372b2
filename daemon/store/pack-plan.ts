/** Which packs to combine: pure. */

export interface PackSize {
  readonly name: string;
  readonly bytes: number;
}

/** At this many packs some are combined, */
export const packsBeforeCombining = 10;
/** down to this many or fewer, */
const packsAfterwards = 7;
/** and on until the next larger pack is so many times as large as all of them: so each byte is written anew O(log n) times. */
const growth = 2;
/** A pack of this size is full: left as it is, and not counted. */
export const fullPackBytes = 512 * 1024 * 1024;

/**
 * The smallest packs, as many as make few packs of rising size; none while there are few.
 * @param all combine what can be combined, however few they are
 */
export function packsToCombine(packs: readonly PackSize[], all = false): string[] {
  const sizes = packs.filter(({ bytes }) => bytes < fullPackBytes).toSorted((a, b) => a.bytes - b.bytes);
  if (sizes.length < (all ? 2 : packsBeforeCombining)) return [];
  const taken: PackSize[] = [];
  let bytes = 0;
  for (const next of sizes) {
    const few = sizes.length - taken.length + 1 <= packsAfterwards;
    if (!all && few && taken.length > 1 && next.bytes >= growth * bytes) break;
    // What is nearly full need not be written again for a little more.
    if (bytes + next.bytes > 2 * fullPackBytes) break;
    taken.push(next);
    bytes += next.bytes;
  }
  return taken.length > 1 ? taken.map(({ name }) => name) : [];
}
