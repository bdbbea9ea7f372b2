/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { useTown } from '../live-town.js';
import { passphraseLengthMin, strengthOf } from '../passphrase-strength.js';
import { TextField } from './field.js';

/** A passphrase that is being chosen. */
export interface ChosenPassphrase {
  readonly value: string;
  readonly again: string;
  /** Whether it may be sent. */
  readonly fits: boolean;
  setValue(value: string): void;
  setAgain(value: string): void;
  clear(): void;
}

export function useNewPassphrase(): ChosenPassphrase {
  const [value, setValue] = useState('');
  const [again, setAgain] = useState('');
  const fits = strengthOf(value).level > 0 && value === again;
  const clear = (): void => {
    setValue('');
    setAgain('');
  };
  return { value, again, fits, setValue, setAgain, clear };
}

interface NewPassphraseProps {
  readonly of: ChosenPassphrase;
  /** The name that it goes with: neither this nor the town's makes a good passphrase. */
  readonly name: string;
  /** The form was sent once: gaps are now mistakes. */
  readonly tried: boolean;
}

/** A passphrase, twice, with an honest hint at its strength. */
export function NewPassphrase({ of: chosen, name, tried }: NewPassphraseProps) {
  const { status } = useTown();
  const { value, again } = chosen;
  const { level, hint } = strengthOf(value, [name, status?.town.name ?? '']);
  const differs = again !== '' && again !== value;
  return (
    <>
      <TextField
        label="Passphrase"
        type="password"
        autocomplete="new-password"
        value={value}
        onInput={chosen.setValue}
        required
        error={tried && level === 0 ? hint : null}
        hint={`At least ${passphraseLengthMin} characters. Four or five unrelated words are good and easy to remember.`}
      />
      <div class="strength">
        <meter
          min={0}
          max={4}
          low={2}
          high={3}
          optimum={4}
          value={level}
          aria-label="Strength of the passphrase"
        />
        <span role="status">{value === '' ? '' : hint}</span>
      </div>
      <TextField
        label="Passphrase again"
        type="password"
        autocomplete="new-password"
        value={again}
        onInput={chosen.setAgain}
        required
        error={differs && (tried || again.length >= value.length) ? 'The two are not the same yet.' : null}
      />
      <p class="notice plain small">
        It locks the key that signs for you. Nobody can look it up or reset it, so keep it somewhere safe.
      </p>
    </>
  );
}
