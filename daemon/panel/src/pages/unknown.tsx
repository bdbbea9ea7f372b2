/** @jsxImportSource preact */
import { hrefOf } from '../router.js';
import { PageHead } from '../widgets/page-head.js';

export function UnknownPage() {
  return (
    <>
      <PageHead title="No such place" lead="This address leads nowhere in town." />
      <p>
        <a class="button" href={hrefOf({ page: 'home' })}>
          Back to the map
        </a>
      </p>
    </>
  );
}
