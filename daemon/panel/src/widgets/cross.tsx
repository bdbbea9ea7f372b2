/** @jsxImportSource preact */

/** The cross of buttons that close something; the button has the name. */
export function Cross({ size }: { size: number }) {
  return (
    <svg viewBox="0 0 20 20" width={size} height={size} aria-hidden="true" class="stroke-icon">
      <path d="M4.5 4.2 L15.6 15.7 M15.5 4.4 L4.3 15.6" />
    </svg>
  );
}
