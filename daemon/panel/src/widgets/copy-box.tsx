/** @jsxImportSource preact */
import { useId, useRef, useState } from 'preact/hooks';

/** A text to hand on: selectable, with a button that copies it. */
export function CopyBox({ label, text }: { label: string; text: string }) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [said, setSaid] = useState('');

  async function copy() {
    input.current?.select();
    try {
      // Missing where the panel is not opened over HTTPS or on the board itself.
      await navigator.clipboard.writeText(text);
      setSaid('Copied.');
    } catch {
      setSaid('Selected: copy it with your keyboard or a long press.');
    }
  }

  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="row">
        <input id={id} ref={input} type="text" readOnly value={text} class="grow mono" />
        <button type="button" onClick={() => void copy()}>
          Copy
        </button>
      </div>
      <p class="hint" role="status">
        {said}
      </p>
    </div>
  );
}
