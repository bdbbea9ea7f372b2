/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { useTown } from '../live-town.js';
import { hrefOf } from '../router.js';
import { PageHead } from '../widgets/page-head.js';
import { FoundTown } from './setup-found.js';
import { JoinTown, useNodeJoining } from './setup-join.js';

const ways = [
  ['found', 'Found a town here', 'A new community, with this board as its first.'],
  ['join', 'Join a town', 'This board becomes one more of a town that is there already.'],
] as const;
type Way = (typeof ways)[number][0];

/** The first start: whoever holds the one-time link founds a town on this board, or takes the board into one. */
export function SetupPage({ token }: { token: string }) {
  const { status } = useTown();
  const joining = useNodeJoining();
  const [way, setWay] = useState<Way | null>(null);
  // A board that asks already, before this page was opened, shows how far it is.
  const asksAlready = joining.value !== null && joining.value.state !== 'idle';
  const shown = way ?? (asksAlready ? 'join' : 'found');

  if (status && !status.needsSetup) return <AlreadySetUp />;
  if (token === '') return <NoToken />;
  return (
    <div class="narrow">
      <PageHead
        title="Set up this board"
        lead="You hold the one-time link, so you decide what this board becomes."
      />
      <fieldset class="setup-ways">
        <legend>What shall it do?</legend>
        {ways.map(([value, text, says]) => (
          <label key={value} class={value === shown ? 'chosen' : ''}>
            <input
              type="radio"
              name="way"
              value={value}
              checked={value === shown}
              onInput={() => setWay(value)}
            />
            <span>
              <strong>{text}</strong>
              <span class="small muted">{says}</span>
            </span>
          </label>
        ))}
      </fieldset>
      {shown === 'found' ? <FoundTown token={token} /> : <JoinTown token={token} joining={joining} />}
    </div>
  );
}

function AlreadySetUp() {
  return (
    <div class="narrow">
      <PageHead title="This town is set up already" lead="The setup link was used; it works only once." />
      <div class="card">
        <p>If that was you, sign in with the name and passphrase you chose.</p>
        <p>
          If it was not you, somebody else held the link: stop the town and look into it before you go on.
        </p>
        <a class="button primary" href={hrefOf({ page: 'home' })}>
          Sign in
        </a>
      </div>
    </div>
  );
}

function NoToken() {
  return (
    <div class="narrow">
      <PageHead title="The setup link is not complete" lead="Its secret part, after the #, is missing." />
      <div class="card">
        <p>
          Copy the whole link from the terminal where the town was started, or from its log, and open it
          again.
        </p>
      </div>
    </div>
  );
}
