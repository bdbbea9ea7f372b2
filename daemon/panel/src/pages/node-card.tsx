/** @jsxImportSource preact */
import { counted, number } from '../format.js';
import { distanceWords, idInGroups, roleWords } from '../node-words.js';
import type { TownNode } from '../shapes.js';
import { Chip, PendingChip } from '../widgets/chips.js';
import { TimeAgo } from '../widgets/time-ago.js';

interface NodeCardProps {
  readonly node: TownNode;
  /** Null: not for who is signed in. */
  readonly onValidator: (() => void) | null;
  readonly onRemove: (() => void) | null;
}

/** One board of the town: what it is, whether it is there, and how far it is. */
export function NodeCard({ node, onValidator, onRemove }: NodeCardProps) {
  const id = `node-${node.id}`;
  return (
    <article class="card node" aria-labelledby={id}>
      <div class="card-head">
        <h3 id={id}>{node.name}</h3>
        <span class="chips">
          <PendingChip state={node.state} />
          {node.validator && <Chip tone="plain">validator</Chip>}
          {node.suspended && <Chip tone="bad">suspended</Chip>}
          {node.self ? (
            <Chip tone="good">this board</Chip>
          ) : node.connected ? (
            <Chip tone="good">connected</Chip>
          ) : node.state === 'merged' || node.heardAt !== null ? (
            <Chip tone="bad">not heard</Chip>
          ) : null}
        </span>
      </div>
      {node.suspended && (
        <p class="notice wait">
          It signed two different things for one place. Its entries are merged no more; its doors go on. When
          you know why, readmit it (<code>town node readmit {node.name}</code>) or remove it.
        </p>
      )}
      <p class="small muted">{node.roles.map((role) => roleWords[role] ?? role).join(', ') || 'No role.'}</p>
      <dl class="node-facts">
        <div>
          <dt>Id</dt>
          <dd>
            <code>{idInGroups(node.id)}</code>
          </dd>
        </div>
        <div>
          <dt>Height</dt>
          <dd>{node.height === null ? 'not known yet' : number(node.height)}</dd>
        </div>
        {!node.self && (
          <>
            <div>
              <dt>Last heard</dt>
              <dd>
                {node.heardAt === null ? 'not since this board started' : <TimeAgo at={node.heardAt} />}
              </dd>
            </div>
            <div class="wide">
              <dt>How far it is</dt>
              <dd>
                {distanceWords(node)}
                {node.fetching > 0 && `; fetching ${counted(node.fetching, 'thing')} from it`}
              </dd>
            </div>
          </>
        )}
      </dl>
      {(onValidator !== null || onRemove !== null) && node.state === 'merged' && (
        <div class="row">
          {onValidator !== null && (
            <button type="button" onClick={onValidator}>
              {node.validator ? 'Take the vote back' : 'Make a validator'}
              <span class="unseen">: {node.name}</span>
            </button>
          )}
          {onRemove !== null && (
            <button type="button" class="quiet" onClick={onRemove}>
              Remove<span class="unseen"> {node.name}</span>
            </button>
          )}
        </div>
      )}
    </article>
  );
}
