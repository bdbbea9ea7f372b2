/** @jsxImportSource preact */
import { PageHead } from '../widgets/page-head.js';

export function UnreachablePage() {
  return (
    <div class="narrow">
      <PageHead title="The board does not answer" />
      <p>Check that it has power and that you are on its network. Doors go on working by themselves.</p>
      <button type="button" class="primary" onClick={() => location.reload()}>
        Try again
      </button>
    </div>
  );
}
