/** @jsxImportSource preact */
import { credits, nameOr, number } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useLoaded } from '../loading.js';
import type { Member, Status } from '../shapes.js';
import { NoticeBanner } from '../widgets/notice-list.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { AllowancesCard } from './bank-allowances.js';
import { DuesCard } from './bank-dues.js';
import { Grant, Invite, Transfer } from './bank-forms.js';

/** The bank: one's own account, the members, and where the town's credits are. */
export function BankPage() {
  const { session, status } = useTown();
  const members = useLoaded<readonly Member[]>('/members', ['entry', 'merge']);
  const all = members.value ?? [];
  const own = all.find((each) => each.id === session?.member);
  const others = all.filter((each) => each.id !== session?.member && each.status !== 'left');

  return (
    <>
      <PageHead
        title="Bank"
        lead="Credits never appear or vanish: whatever one account loses, another gains."
      />
      <NoticeBanner />
      <Problem error={members.error} />
      <div class="columns">
        <div>
          {own && <OwnAccount own={own} />}
          {own && <DuesCard member={own.id} onDone={members.reload} />}
          {own && <AllowancesCard own={own} others={others} onDone={members.reload} />}
          <section class="card" aria-labelledby="members">
            <h2 id="members">Members</h2>
            {members.value !== null &&
              (mayDo(session, 'credit.grant') ? (
                <MemberTable members={all} self={session?.member} />
              ) : (
                <MemberNames members={all} self={session?.member} />
              ))}
          </section>
          {status && <Supply supply={status.supply} />}
        </div>
        <div class="side">
          {own && mayDo(session, 'credit.transfer') && (
            <Transfer own={own} others={others} onDone={members.reload} />
          )}
          {mayDo(session, 'credit.grant') && <Grant members={all} onDone={members.reload} />}
          {mayDo(session, 'member.invite') && <Invite />}
        </div>
      </div>
    </>
  );
}

function OwnAccount({ own }: { own: Member }) {
  return (
    <section class="card account" aria-labelledby="own-account">
      <h2 id="own-account">Your account</h2>
      <dl class="figures">
        <div>
          <dt>You can spend</dt>
          <dd class="big">{credits(own.balance)}</dd>
        </div>
        <div>
          <dt>Put aside for gigs</dt>
          <dd>{number(own.locked)}</dd>
        </div>
        <div>
          <dt>On its way to you</dt>
          <dd>
            {number(own.incoming)}
            {own.incoming !== null && own.incoming > 0 && (
              <span class="small muted"> pending: yours once merged</span>
            )}
          </dd>
        </div>
      </dl>
    </section>
  );
}

function MemberTable({ members, self }: { members: readonly Member[]; self: string | undefined }) {
  if (members.length === 0) return <p class="empty">No member yet.</p>;
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-labelledby="members">
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" class="amount">
              Balance
            </th>
            <th scope="col" class="amount">
              Put aside
            </th>
            <th scope="col" class="amount">
              Pending
            </th>
          </tr>
        </thead>
        <tbody>
          {members.map((member) => (
            <tr key={member.id}>
              <th scope="row">
                {nameOr(member.name, member.id)}
                {member.id === self && <span class="muted"> (you)</span>}
                <span class="roles small muted">{standingOf(member)}</span>
              </th>
              <td class="amount">{number(member.balance)}</td>
              <td class="amount">{number(member.locked)}</td>
              <td class="amount">{number(member.incoming)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** For members: who is one. What others own is between them and the stewards. */
function MemberNames({ members, self }: { members: readonly Member[]; self: string | undefined }) {
  return (
    <>
      <ul class="member-names">
        {members.map((member) => (
          <li key={member.id}>
            <strong>{nameOr(member.name, member.id)}</strong>
            {member.id === self && <span class="muted"> (you)</span>}
            <span class="roles small muted">{standingOf(member)}</span>
          </li>
        ))}
      </ul>
      <p class="hint">Balances are shown to their owners and to stewards only.</p>
    </>
  );
}

/** The roles of a member, or how they stand where that says more. */
const standingOf = ({ status, roles }: Member): string =>
  status === 'active' ? roles.join(', ') || 'no role' : status === 'left' ? 'has left' : 'suspended';

/** A bar of the whole supply; the same figures stand beside it as text. */
function Supply({ supply }: { supply: Status['supply'] }) {
  const share = (part: number) => (supply.total === 0 ? 0 : (part / supply.total) * 300);
  const parts = [
    ['vault', 'In the vault', supply.vault],
    ['members', 'With members', supply.members],
    ['locked', 'Put aside', supply.locked],
    ['allowances', 'At boards', supply.allowances],
    ...(supply.suspense > 0 ? [['suspense', 'Of members who left', supply.suspense] as const] : []),
  ] as const;
  let x = 0;
  return (
    <section class="card" aria-labelledby="supply">
      <h2 id="supply">All credits of the town</h2>
      <svg class="supply-bar" viewBox="0 0 300 14" preserveAspectRatio="none" aria-hidden="true">
        {parts.map(([name, , amount]) => {
          const from = x;
          // What is there at all can be seen.
          const width = amount === 0 ? 0 : Math.max(1.5, share(amount));
          x += width;
          return <rect key={name} class={`supply-${name}`} x={from} y="0" width={width} height="14" />;
        })}
      </svg>
      <dl class="figures">
        {parts.map(([name, text, amount]) => (
          <div key={name}>
            <dt>
              <span class={`swatch supply-${name}`} aria-hidden="true" />
              {text}
            </dt>
            <dd>{number(amount)}</dd>
          </div>
        ))}
        <div>
          <dt>Together</dt>
          <dd>{number(supply.total)}</dd>
        </div>
      </dl>
    </section>
  );
}
