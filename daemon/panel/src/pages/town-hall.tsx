/** @jsxImportSource preact */
import { counted, dateTime, number, shortId } from '../format.js';
import { useTown } from '../live-town.js';
import { useLoaded } from '../loading.js';
import { hrefOf } from '../router.js';
import type { Status } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { PageHead } from '../widgets/page-head.js';
import { Drafts } from './drafts.js';
import { Problem } from '../widgets/problem.js';
import { Tree } from '../widgets/tree.js';

/** The town hall: how the town is, and the rules it gave itself. */
export function TownHallPage() {
  const { status } = useTown();
  const charter = useLoaded<{ readonly [name: string]: unknown }>('/charter', ['merge']);
  return (
    <>
      <PageHead title="Town hall" lead="How the town is, and the rules it gave itself." />
      {status && <Concerns status={status} />}
      {status && <HowItIs status={status} />}
      <Drafts />
      <section class="card" aria-labelledby="charter">
        <h2 id="charter">The charter</h2>
        <p class="muted">The town’s constitution, in the ledger. It changes only by a merge.</p>
        <Problem error={charter.error} />
        {charter.value && <Tree value={charter.value} />}
      </section>
    </>
  );
}

function Concerns({ status }: { status: Status }) {
  return (
    <>
      {status.dapps.ready && !status.dapps.isolated && (
        <p class="notice wait">
          <strong>Dapps are not isolated.</strong>{' '}
          {status.dapps.warning ??
            'No container engine answers, so the dapps run as ordinary processes of this board.'}
        </p>
      )}
      {!status.gate.connected && (
        <p class="notice wait">
          <strong>The gate does not answer the daemon.</strong> It decides by itself with the rights it has.
        </p>
      )}
    </>
  );
}

function HowItIs({ status }: { status: Status }) {
  const { dapps, gate, broker, validators } = status;
  return (
    <div class="tiles">
      <section class="card" aria-labelledby="this-town">
        <h2 id="this-town">The town</h2>
        <dl class="proof">
          <dt>Name</dt>
          <dd>{status.town.name}</dd>
          <dt>Preset</dt>
          <dd>{status.town.preset}</dd>
          <dt>Id</dt>
          <dd>
            <code class="hash">{status.town.id}</code>
          </dd>
          <dt>Height</dt>
          <dd>
            {number(status.height)}, {number(status.pendingEntries)} pending
          </dd>
        </dl>
      </section>
      <section class="card" aria-labelledby="agreement">
        <h2 id="agreement">Agreement</h2>
        <p>
          {counted(validators.count, 'validator')}, {number(validators.quorum)} must sign a merge.{' '}
          {validators.mayBeOff === 0
            ? 'None may be off: without it nothing merges, but doors go on.'
            : `${counted(validators.mayBeOff, 'board')} may be off.`}{' '}
          <a href={hrefOf({ page: 'nodes' })}>See who is heard</a>
        </p>
        <h3>This board</h3>
        <p>
          {status.node.name} <code>{status.node.id}</code>, version {status.version}, up since{' '}
          {dateTime(status.startedAt)}.
        </p>
      </section>
      <section class="card" aria-labelledby="parts">
        <h2 id="parts">Its parts</h2>
        <ul class="parts">
          <li>
            <Chip tone={gate.connected ? 'good' : 'bad'}>gate</Chip>{' '}
            {gate.connected
              ? `connected, ${gate.simulated ? 'a simulated board' : `board ${gate.board ?? 'unknown'}`}`
              : 'away'}
          </li>
          <li>
            <Chip tone={broker.listening ? 'good' : 'bad'}>broker</Chip>{' '}
            {broker.listening ? `MQTT on port ${broker.port ?? '?'}` : 'not listening'}
          </li>
          <li>
            <Chip tone={dapps.ready ? (dapps.isolated ? 'good' : 'wait') : 'wait'}>dapps</Chip>{' '}
            {dapps.driver === 'starting' || !dapps.ready
              ? 'starting'
              : dapps.isolated
                ? 'each in its own container'
                : 'as processes, not isolated'}
          </li>
        </ul>
        <ul class="small">
          {dapps.list.map((dapp) => (
            <li key={dapp.name}>
              {dapp.name} {dapp.version} <code title={dapp.digest}>{shortId(dapp.digest)}</code>
              {dapp.suspended !== null && (
                <p>
                  <Chip tone="bad">suspended</Chip> {dapp.suspended} Its entries are refused until the charter
                  says otherwise of it: another version, or disabled and enabled again.
                </p>
              )}
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}
