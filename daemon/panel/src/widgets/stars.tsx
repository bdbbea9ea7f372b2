/** @jsxImportSource preact */
import { useId } from 'preact/hooks';

const star = 'M10 1.8 L12.5 7.2 L18.4 7.9 L14 11.9 L15.2 17.8 L10 14.8 L4.8 17.8 L6 11.9 L1.6 7.9 L7.5 7.2 Z';

/** A rating, as drawn stars and as words. */
export function Stars({ count }: { count: number }) {
  return (
    <span class="stars">
      {[1, 2, 3, 4, 5].map((each) => (
        <svg
          key={each}
          viewBox="0 0 20 20"
          width="18"
          height="18"
          aria-hidden="true"
          class={each <= count ? 'full' : ''}
        >
          <path d={star} />
        </svg>
      ))}
      <span class="unseen">{count} of 5 stars</span>
    </span>
  );
}

/** Choosing one to five stars: radio buttons that look like stars. */
export function StarsField({ value, onInput }: { value: number; onInput(stars: number): void }) {
  const name = useId();
  return (
    <fieldset class="stars-field">
      <legend>Your rating</legend>
      {[1, 2, 3, 4, 5].map((each) => (
        <label key={each} class={each <= value ? 'full' : ''}>
          <input
            type="radio"
            class="unseen"
            name={name}
            value={each}
            checked={each === value}
            onInput={() => onInput(each)}
          />
          <svg viewBox="0 0 20 20" width="28" height="28" aria-hidden="true">
            <path d={star} />
          </svg>
          <span class="unseen">{each === 1 ? '1 star' : `${each} stars`}</span>
        </label>
      ))}
      <span class="small muted">{value === 0 ? 'not chosen yet' : `${value} of 5`}</span>
    </fieldset>
  );
}
