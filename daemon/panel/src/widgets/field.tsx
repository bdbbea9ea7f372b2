/** @jsxImportSource preact */
/** Labelled form fields. Every label is a real one; hints and mistakes are tied to their field. */
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

interface FieldProps {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly error?: string | null | undefined;
}

interface TextFieldProps extends FieldProps {
  readonly value: string;
  onInput(value: string): void;
  readonly type?: 'text' | 'password' | 'search' | 'number';
  readonly autocomplete?: string;
  readonly required?: boolean;
  readonly maxLength?: number;
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
  readonly inputMode?: 'text' | 'numeric';
  readonly rows?: number;
  readonly autofocus?: boolean;
}

/** One line of text; with `rows`, several. */
export function TextField(props: TextFieldProps) {
  const { label, hint, error, value, onInput, type, rows, pattern, autofocus, ...rest } = props;
  const id = useId();
  const shared = {
    ...rest,
    id,
    name: id,
    value,
    'aria-describedby': `${id}-hint`,
    'aria-invalid': Boolean(error),
    onInput: (event: Event) => onInput((event.currentTarget as HTMLInputElement).value),
    ...(autofocus ? { ref: focusOnce } : {}),
  };
  const oneLine = pattern === undefined ? shared : { ...shared, pattern };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {rows !== undefined ? (
        <textarea rows={rows} {...shared} />
      ) : type === 'password' ? (
        <input type="password" {...oneLine} />
      ) : type === 'search' ? (
        <input type="search" {...oneLine} />
      ) : type === 'number' ? (
        <input type="number" {...oneLine} />
      ) : (
        <input type="text" {...oneLine} />
      )}
      <FieldHint id={id} hint={hint} error={error} />
    </div>
  );
}

interface SelectFieldProps extends FieldProps {
  readonly value: string;
  onInput(value: string): void;
  readonly options: readonly (readonly [value: string, text: string])[];
  readonly required?: boolean;
}

/** One of several, from a list. */
export function SelectField({ label, hint, error, value, onInput, options, required }: SelectFieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        required={required}
        aria-describedby={`${id}-hint`}
        onInput={(event) => onInput(event.currentTarget.value)}
      >
        {options.map(([each, text]) => (
          <option key={each} value={each} selected={each === value}>
            {text}
          </option>
        ))}
      </select>
      <FieldHint id={id} hint={hint} error={error} />
    </div>
  );
}

interface CheckFieldProps {
  readonly label: string;
  readonly checked: boolean;
  onInput(checked: boolean): void;
}

export function CheckField({ label, checked, onInput }: CheckFieldProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onInput={(event) => onInput(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

function FieldHint({ id, hint, error }: { id: string } & Omit<FieldProps, 'label'>) {
  return (
    <p id={`${id}-hint`} class={error ? 'hint mistake' : 'hint'}>
      {error || hint}
    </p>
  );
}

function focusOnce(element: HTMLElement | null): void {
  if (element !== null && element.dataset['focused'] === undefined) {
    element.dataset['focused'] = '';
    element.focus();
  }
}
