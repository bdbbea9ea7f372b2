/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { path, post, remove } from '../api.js';
import { dateTime, shortId } from '../format.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import { idInGroups, invitationIsOver, invitationWords, roleWords } from '../node-words.js';
import type { NodeInvitation, Recorded } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { Problem } from '../widgets/problem.js';
import { ReasonDialog } from '../widgets/reason-dialog.js';
import { TimeAgo } from '../widgets/time-ago.js';

type Asker = NonNullable<NodeInvitation['asker']>;

interface InvitationsProps {
  readonly invitations: readonly NodeInvitation[] | null;
  onChanged(): void;
}

/** The boards that stand before the gate, with the id to compare before one is let in. */
export function Waiting({ invitations, onChanged }: InvitationsProps) {
  const asking = (invitations ?? []).flatMap((each) =>
    each.state === 'asked' && each.asker !== null ? [{ invitation: each, asker: each.asker }] : [],
  );
  return (
    <div role="status">
      {asking.map(({ invitation, asker }) => (
        <Asks key={invitation.id} invitation={invitation} asker={asker} onChanged={onChanged} />
      ))}
    </div>
  );
}

function Asks(props: { invitation: NodeInvitation; asker: Asker; onChanged(): void }) {
  const { invitation, asker, onChanged } = props;
  const { follow } = useTown();
  const [refusing, setRefusing] = useState(false);
  const approve = useAction(async () => {
    const recorded = await post<Recorded>(path`/nodes/invitations/${invitation.id}/approve`, {
      node: asker.node,
    });
    follow(`Let in the board ${asker.name}`, recorded);
    onChanged();
  });
  const refuse = useAction(async (reason: string) => {
    await post(path`/nodes/invitations/${invitation.id}/refuse`, { reason });
    setRefusing(false);
    onChanged();
  });
  const heading = `asks-${invitation.id}`;
  return (
    <section class="card asks" aria-labelledby={heading}>
      <h2 id={heading}>{asker.name} asks to be let in</h2>
      <p>
        {roleWords[invitation.role]} It asked <TimeAgo at={asker.askedAt} />. Its screen must show exactly
        this id:
      </p>
      <p class="id-large">
        <code>{idInGroups(asker.node)}</code>
      </p>
      <Problem error={approve.error} />
      <div class="row">
        <button type="button" class="primary" disabled={approve.busy} onClick={() => void approve.run()}>
          The ids are the same: let it in
        </button>
        <button type="button" onClick={() => setRefusing(true)}>
          Refuse<span class="unseen"> {asker.name}</span>
        </button>
      </div>
      {refusing && (
        <ReasonDialog
          title={`Refuse ${asker.name}?`}
          says="The board is told the reason. Its invitation is used up."
          does="Refuse the board"
          hint="Shown on the other board’s screen."
          busy={refuse.busy}
          error={refuse.error}
          onClose={() => setRefusing(false)}
          onReason={(reason) => void refuse.run(reason)}
        />
      )}
    </section>
  );
}

/** Every invitation, those that still mean something first. */
export function InvitationList({ invitations, onChanged }: InvitationsProps) {
  const all = invitations ?? [];
  const open = all.filter(({ state }) => !invitationIsOver(state));
  const over = all.filter(({ state }) => invitationIsOver(state));
  if (all.length === 0) return null;
  return (
    <section class="card" aria-labelledby="invitations">
      <h2 id="invitations">Invitations</h2>
      {open.length === 0 && <p class="muted">None is open.</p>}
      <ul class="invitations">
        {open.map((each) => (
          <Invitation key={each.id} invitation={each} onChanged={onChanged} />
        ))}
      </ul>
      {over.length > 0 && (
        <details class="past">
          <summary>Past ones</summary>
          <ul class="invitations">
            {over.map((each) => (
              <Invitation key={each.id} invitation={each} onChanged={onChanged} />
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}

function Invitation({ invitation, onChanged }: { invitation: NodeInvitation; onChanged(): void }) {
  const { id, role, state, asker, expiresAt } = invitation;
  const withdraw = useAction(async () => {
    await remove(path`/nodes/invitations/${id}`);
    onChanged();
  });
  return (
    <li>
      <div>
        <span class="chips">
          <code title={id}>{shortId(id)}</code>
          <Chip
            tone={
              state === 'welcomed'
                ? 'good'
                : state === 'refused'
                  ? 'bad'
                  : invitationIsOver(state)
                    ? 'plain'
                    : 'wait'
            }
          >
            {invitationWords[state]}
          </Chip>
        </span>
        <p class="small muted">
          {role === 'door' ? 'For a door node' : 'For a hub'}
          {asker === null ? '' : `, used by ${asker.name}`}
          {invitationIsOver(state) ? '.' : `, good until ${dateTime(expiresAt)}.`}
        </p>
        <Problem error={withdraw.error} />
      </div>
      {(state === 'open' || state === 'asked') && (
        <button type="button" class="quiet" disabled={withdraw.busy} onClick={() => void withdraw.run()}>
          Take back<span class="unseen"> invitation {shortId(id)}</span>
        </button>
      )}
    </li>
  );
}
