/** @jsxImportSource preact */
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, post } from '../api.js';
import { useAction } from '../loading.js';
import { idInGroups } from '../node-words.js';
import { hrefOf } from '../router.js';
import type { NodeJoining, Status } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';
import { LinkHelp } from './setup-found.js';

const askEveryMs = 2_000;

export interface NodeJoiningNow {
  /** The last answer; null: none yet. */
  readonly value: NodeJoining | null;
  /** The board did not answer the last time: it may be starting anew. */
  readonly away: boolean;
  set(value: NodeJoining): void;
}

/** How far this board is on its way into a town, asked every two seconds while it is on its way. */
export function useNodeJoining(): NodeJoiningNow {
  const [value, set] = useState<NodeJoining | null>(null);
  const [away, setAway] = useState(false);
  const isUnderWay = value !== null && value.state !== 'idle' && value.state !== 'failed';

  useEffect(() => {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout>;
    async function ask() {
      try {
        const now = await get<NodeJoining>('/node/join');
        if (stopped) return;
        set(now);
        setAway(false);
        if (isUnderWay && !(await get<Status>('/status')).needsSetup && !stopped) return goOn();
      } catch {
        if (stopped) return;
        setAway(true);
      }
      if (isUnderWay && !stopped) timer = setTimeout(() => void ask(), askEveryMs);
    }
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [isUnderWay]);

  return { value, away: away && isUnderWay, set };
}

/** The board has started as one of the town. Another path than that of the setup link: the panel is loaded anew. */
const goOn = (): void => location.replace(hrefOf({ page: 'home' }));

/** Takes this board into a town that invited it, and shows how far it is. */
export function JoinTown({ token, joining }: { token: string; joining: NodeJoiningNow }) {
  const { value } = joining;
  if (value === null || value.state === 'idle' || value.state === 'failed')
    return <AskForm token={token} joining={joining} />;
  return <UnderWay value={value} away={joining.away} />;
}

function AskForm({ token, joining }: { token: string; joining: NodeJoiningNow }) {
  const [code, setCode] = useState('');
  const [name, setName] = useState('');
  const [tried, setTried] = useState(false);
  const ask = useAction(async () => {
    joining.set(await post<NodeJoining>('/node/join', { token, code: code.trim(), name: name.trim() }));
  });
  const failed = joining.value?.state === 'failed' ? joining.value.error : null;
  return (
    <form
      class="card"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        if (code.trim() !== '' && name.trim() !== '') void ask.run();
      }}
    >
      {failed !== null && ask.error === null && (
        <div class="notice bad">
          <p>
            <strong>The last try failed. {failed.message}</strong> {failed.advice}
          </p>
          <p class="small muted">code: {failed.code}</p>
        </div>
      )}
      <TextField
        label="Invitation code"
        rows={4}
        value={code}
        onInput={setCode}
        autocomplete="off"
        required
        autofocus
        error={tried && code.trim() === '' ? 'Paste the code or the link that a steward gave you.' : null}
        hint="A steward of the town makes it in the power house of their panel, or with “town node invite”."
      />
      <TextField
        label="Name of this board"
        value={name}
        onInput={setName}
        autocomplete="off"
        maxLength={60}
        required
        error={tried && name.trim() === '' ? 'Give it a name that tells it from the others.' : null}
        hint="Where it hangs, say: Workshop, or Back door."
      />
      <Problem error={ask.error} />
      {ask.error?.code.startsWith('setup-') && <LinkHelp />}
      <button type="submit" class="primary" disabled={ask.busy}>
        {ask.busy ? 'Reading the invitation…' : 'Ask to join'}
      </button>
    </form>
  );
}

function UnderWay({ value, away }: { value: NodeJoining; away: boolean }) {
  const town = value.town ?? 'the town';
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <section class="card" aria-labelledby="under-way">
      <h2 id="under-way" ref={heading} tabIndex={-1}>
        On the way into {town}
      </h2>
      <p>This board’s id. The steward must see exactly the same before they let it in:</p>
      <p class="id-large">
        <code>{idInGroups(value.node)}</code>
      </p>
      <div role="status">
        <p class={value.state === 'joined' ? 'notice good' : 'notice wait'}>
          {progressOf(value, town, away)}
        </p>
      </div>
      {value.broker !== null && value.state !== 'joined' && (
        <p class="small muted">
          {value.broker.reached === 'connected' ? 'Connected to ' : 'Looking for the town at '}
          <code class="hash">{value.broker.url}</code>
          {value.broker.reached === 'away' ? ', which does not answer just now.' : '.'}
        </p>
      )}
      {value.state !== 'joined' && (
        <p class="small muted">You may close this page: the board goes on asking, also after a power cut.</p>
      )}
    </section>
  );
}

function progressOf({ state }: NodeJoining, town: string, away: boolean): string {
  if (away) return 'The board starts anew with its town. This page goes on by itself.';
  if (state === 'joined')
    return `${town} has let this board in. It starts anew; this page goes on by itself.`;
  return state === 'waiting'
    ? `${town} has the request. Now a steward has to approve it.`
    : `Asking ${town} to be let in. No answer yet.`;
}
