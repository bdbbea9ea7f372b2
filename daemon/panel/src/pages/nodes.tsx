/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { counted, dateTime, number } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import { quorumIsThere, quorumNow, quorumRule } from '../node-words.js';
import type { Nodes, TownNode } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { NodeCard } from './node-card.js';
import { RemoveDialog, ValidatorDialog } from './node-dialogs.js';
import { InviteNode } from './node-invite.js';
import { InvitationList, Waiting } from './node-invitations.js';

type Asked = { readonly what: 'validator' | 'remove'; readonly node: TownNode };

/** The power house: the boards that carry the town, who of them merges, and who is heard. */
export function NodesPage() {
  const { session } = useTown();
  const nodes = useLoaded<Nodes>('/nodes', ['nodes', 'merge', 'entry', 'status']);
  const [asked, setAsked] = useState<Asked | null>(null);
  const steward = mayDo(session, 'charter.change');
  const close = () => setAsked(null);
  const { value } = nodes;

  return (
    <>
      <PageHead
        title="Power house"
        lead="The boards that carry the town. Each is whole by itself; together they agree on one record."
      >
        <SyncNow onDone={nodes.reload} />
      </PageHead>
      <Problem error={nodes.error} />
      {value && <Waiting invitations={value.invitations} onChanged={nodes.reload} />}
      {value && (
        <div class="columns">
          <div>
            <Quorum nodes={value} />
            <section aria-labelledby="nodes">
              <h2 id="nodes">{counted(value.nodes.length, 'board')}</h2>
              <ul class="cards">
                {value.nodes.map((node) => (
                  <li key={node.id}>
                    <NodeCard
                      node={node}
                      onValidator={
                        steward && !(node.validator && value.validators.count === 1)
                          ? () => setAsked({ what: 'validator', node })
                          : null
                      }
                      onRemove={steward && !node.self ? () => setAsked({ what: 'remove', node }) : null}
                    />
                  </li>
                ))}
              </ul>
            </section>
          </div>
          <div class="side">
            {steward && <InviteNode onInvited={nodes.reload} />}
            {value.invitations !== null && (
              <InvitationList invitations={value.invitations} onChanged={nodes.reload} />
            )}
            <Broker nodes={value} />
            <Refused nodes={value} />
          </div>
        </div>
      )}
      {asked?.what === 'validator' && (
        <ValidatorDialog
          node={asked.node}
          count={value?.validators.count ?? 1}
          onClose={close}
          onDone={nodes.reload}
        />
      )}
      {asked?.what === 'remove' && <RemoveDialog node={asked.node} onClose={close} onDone={nodes.reload} />}
    </>
  );
}

function SyncNow({ onDone }: { onDone(): void }) {
  const [said, setSaid] = useState('');
  const sync = useAction(async () => {
    setSaid('');
    const { nodes } = await post<Nodes>('/nodes/sync');
    const others = nodes.filter((each) => !each.self);
    const heard = others.filter((each) => each.connected).length;
    setSaid(
      others.length === 0
        ? 'There is no other board.'
        : `${number(heard)} of ${counted(others.length, 'other board')} answered.`,
    );
    onDone();
  });
  return (
    <div class="merge-now">
      <button type="button" disabled={sync.busy} onClick={() => void sync.run()}>
        {sync.busy ? 'Asking the others…' : 'Ask the others now'}
      </button>
      <p role="status" class="hint">
        {said}
      </p>
      <Problem error={sync.error} />
    </div>
  );
}

/** Whether the town can merge, in a sentence, with one lamp for each validator. */
function Quorum({ nodes: { validators, pending, nodes } }: { nodes: Nodes }) {
  const there = quorumIsThere(validators);
  const lamps = nodes.filter((each) => each.validator);
  return (
    <section class="card" aria-labelledby="quorum">
      <h2 id="quorum">Who agrees on merges</h2>
      <p>{quorumRule(validators)}</p>
      <div role="status">
        <p class={there ? 'notice good' : 'notice bad'}>
          {!there && <strong>Seen from this board, the town cannot merge. </strong>}
          {quorumNow(validators)}
        </p>
      </div>
      <ul class="validators" aria-label="Validators">
        {lamps.map((each) => (
          <li key={each.id}>
            <Bulb lit={each.connected} />
            <span>
              {each.name} <span class="small muted">{each.connected ? 'heard' : 'not heard'}</span>
            </span>
          </li>
        ))}
      </ul>
      <p class="muted small">
        {pending.entries === 0
          ? 'Nothing waits to be merged.'
          : `${counted(pending.entries, 'entry waits', 'entries wait')} to be merged${pending.blocks === 0 ? '' : `, in ${counted(pending.blocks, 'block')}`}.`}
      </p>
    </section>
  );
}

function Bulb({ lit }: { lit: boolean }) {
  return (
    <svg viewBox="0 0 24 30" width="22" height="28" aria-hidden="true" class={lit ? 'bulb lit' : 'bulb'}>
      <path
        class="bulb-glass"
        d="M12 2.2 C5.8 2.2 2.6 6.8 3.2 11.4 C3.7 15 7.4 16.8 8 21 L16.2 21 C16.7 16.9 20.4 15 20.9 11.2 C21.4 6.6 18.2 2.1 12 2.2 Z"
      />
      <path
        class="bulb-line"
        d="M8.6 24.2 L15.6 24 M9.6 27.4 L14.7 27.3 M9.6 20.6 L10.4 12.6 L12 14.8 L13.7 12.5 L14.4 20.6"
      />
    </svg>
  );
}

function Broker({ nodes: { broker } }: { nodes: Nodes }) {
  return (
    <section class="card" aria-labelledby="broker">
      <h2 id="broker">Where they meet</h2>
      {broker.url === null ? (
        <p>This board meets no others: it has no broker.</p>
      ) : (
        <>
          <p class="chips">
            <Chip tone={broker.connected ? 'good' : 'bad'}>{broker.connected ? 'connected' : 'away'}</Chip>
            <code class="hash">{broker.url}</code>
          </p>
          {broker.error !== null && <p class="notice bad">{broker.error}</p>}
          {broker.others?.map((other) => (
            <p class="chips" key={other.url}>
              <Chip tone={other.connected ? 'good' : 'bad'}>{other.connected ? 'connected' : 'away'}</Chip>
              <code class="hash">{other.url}</code>
              {other.error}
            </p>
          ))}
          <p class="small muted">
            {broker.embedded
              ? 'This board runs the broker itself. While it is off, the others go on alone and catch up later.'
              : 'An MQTT broker elsewhere. While it is away, every board goes on alone and catches up later.'}
          </p>
        </>
      )}
    </section>
  );
}

/** Messages that were not taken: of interest when something does not work, or somebody tries something. */
function Refused({ nodes: { refused } }: { nodes: Nodes }) {
  const all = refused.reduce((sum, each) => sum + each.count, 0);
  if (all === 0) return null;
  return (
    <details class="card">
      <summary>{counted(all, 'message')} not taken</summary>
      <p class="small muted">Since this board started. Messages are refused by name and change nothing.</p>
      <ul class="refusals">
        {refused.map((each) => (
          <li key={`${each.code} ${each.reason}`}>
            <span>
              <strong>{number(each.count)} ×</strong> {each.reason}
            </span>
            <span class="small muted">
              <code>{each.code}</code>, last {dateTime(each.at)}
            </span>
          </li>
        ))}
      </ul>
    </details>
  );
}
