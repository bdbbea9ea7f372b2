/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { path, post } from '../api.js';
import { useAction } from '../loading.js';
import type { Door, DoorEvent } from '../shapes.js';
import { doorReason, doorWho } from '../words.js';
import { TextField } from './field.js';
import { Problem } from './problem.js';

interface TapBoxProps {
  readonly door: Door;
  readonly label: string;
  /** Begin with a number that nobody has yet. */
  readonly random?: boolean;
}

/** Eight digits, as a 26-bit Wiegand reader may give them. */
const newNumber = (): string =>
  String(10_000_000 + ((crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 89_999_999));

/** Holds a badge to a simulated reader. */
export function TapBox({ door, label, random = false }: TapBoxProps) {
  const [badgeNumber, setBadgeNumber] = useState(() => (random ? newNumber() : ''));
  const [result, setResult] = useState<DoorEvent | null>(null);
  const tap = useAction(async () => {
    setResult(null);
    setResult(await post<DoorEvent>(path`/doors/${door.id}/tap`, { badgeNumber: badgeNumber.trim() }));
  });

  return (
    <form
      class="tap-box"
      onSubmit={(event) => {
        event.preventDefault();
        void tap.run();
      }}
    >
      <div class="row bottom">
        <div class="grow">
          <TextField
            label="Badge number (simulated)"
            value={badgeNumber}
            onInput={setBadgeNumber}
            maxLength={64}
            autocomplete="off"
            required
          />
        </div>
        <button type="submit" disabled={tap.busy || badgeNumber.trim() === ''}>
          {label}
          <span class="unseen"> at {door.name}</span>
        </button>
      </div>
      <Problem error={tap.error} />
      <p role="status" class="tap-result">
        {result !== null && (
          <span class={result.outcome === 'granted' ? 'good-text' : 'bad-text'}>
            {doorWho(result)}: <strong>{result.outcome}</strong>, {doorReason(result)}.
          </span>
        )}
      </p>
    </form>
  );
}
