/** @jsxImportSource preact */
import { passphraseLengthMin, strengthOf } from '../passphrase-strength.js';
import { TextField } from './field.js';

interface NewPassphraseProps {
  readonly names: readonly string[];
  readonly value: string;
  readonly again: string;
  onInput(value: string): void;
  onAgain(value: string): void;
  /** The form was sent once: gaps are now mistakes. */
  readonly tried: boolean;
}

/** Whether a new passphrase may be sent. */
export const passphraseFits = (value: string, again: string): boolean =>
  strengthOf(value).level > 0 && value === again;

/** A passphrase, twice, with an honest hint at its strength. */
export function NewPassphrase({ names, value, again, onInput, onAgain, tried }: NewPassphraseProps) {
  const { level, hint } = strengthOf(value, names);
  const differs = again !== '' && again !== value;
  return (
    <>
      <TextField
        label="Passphrase"
        type="password"
        autocomplete="new-password"
        value={value}
        onInput={onInput}
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
        onInput={onAgain}
        required
        error={differs && (tried || again.length >= value.length) ? 'The two are not the same yet.' : null}
      />
      <p class="notice plain small">
        It locks the key that signs for you. Nobody can look it up or reset it, so keep it somewhere safe.
      </p>
    </>
  );
}
