/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { path, post } from '../api.js';
import { credits, nameOr, shortId } from '../format.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import { hrefOf } from '../router.js';
import type { Gig, GigStep, Recorded } from '../shapes.js';
import { Chip, PendingChip } from '../widgets/chips.js';
import { TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';
import { Stars, StarsField } from '../widgets/stars.js';
import { gigIsOver, gigStatusWords, gigStepWords, stepGroups } from '../words.js';

interface StepInput {
  readonly stars?: number;
  readonly sharePercent?: number;
}

/** One gig, with just the steps that the person signed in may take next. */
export function GigCard({ gig, onChanged }: { gig: Gig; onChanged(): void }) {
  const { session, follow } = useTown();
  const step = useAction(async (which: GigStep, input: StepInput) => {
    const recorded = await post<Recorded>(path`/gigs/${gig.id}/${which}`, input);
    follow(`${gigStepWords[which]}: “${gig.title}”`, recorded);
    onChanged();
  });
  const take = (which: GigStep, input: StepInput = {}) => void step.run(which, input);
  const plain = gig.can.filter((each) => each !== 'complete' && each !== 'settle');
  const over = gigIsOver(gig);

  return (
    <article class={over ? 'card gig over' : 'card gig'} aria-label={gig.title}>
      <div class="card-head">
        <h3>{gig.title}</h3>
        <strong class="price">{credits(gig.price)}</strong>
      </div>
      <p class="gig-words">{gig.description}</p>
      <p class="small muted">
        Asked by {who(gig.opener, gig.openerName, session?.member)}
        {gig.taker !== null && <>; done by {who(gig.taker, gig.takerName, session?.member)}</>}
        {' · '}
        <a href={hrefOf({ page: 'entry', id: gig.id })}>
          in the ledger<span class="unseen">: {shortId(gig.id)}</span>
        </a>
      </p>
      <p class="chips">
        <Chip tone={gig.status === 'completed' ? 'good' : gig.status === 'disputed' ? 'bad' : 'plain'}>
          {gigStatusWords[gig.status]}
        </Chip>
        <PendingChip state={gig.state} />
        {gig.stars !== null && <Stars count={gig.stars} />}
        {gig.payout !== null && <span class="small">pays {credits(gig.payout)}</span>}
      </p>
      {gig.can.includes('complete') && (
        <Rate busy={step.busy} onRate={(stars) => take('complete', { stars })} />
      )}
      {gig.can.includes('settle') && (
        <SettleShare busy={step.busy} onShare={(sharePercent) => take('settle', { sharePercent })} />
      )}
      {plain.length > 0 && (
        <div class="row">
          {plain.map((which) => (
            <button
              key={which}
              type="button"
              class={stepGroups[which] === 'main' ? 'primary' : 'quiet'}
              disabled={step.busy}
              onClick={() => take(which)}
            >
              {gigStepWords[which]}
              <span class="unseen">: {gig.title}</span>
            </button>
          ))}
        </div>
      )}
      <Problem error={step.error} />
    </article>
  );
}

const who = (id: string, name: string | null, self: string | undefined): string =>
  id === self ? 'you' : nameOr(name, id);

function Rate({ busy, onRate }: { busy: boolean; onRate(stars: number): void }) {
  const [stars, setStars] = useState(0);
  return (
    <form
      class="step-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (stars > 0) onRate(stars);
      }}
    >
      <StarsField value={stars} onInput={setStars} />
      <p class="hint">
        Five stars pay the whole price at once. Fewer wait until the taker accepts the rating; what they leave
        over goes to the vault, not to you.
      </p>
      <button type="submit" class="primary" disabled={busy || stars === 0}>
        {gigStepWords.complete}
      </button>
    </form>
  );
}

function SettleShare({ busy, onShare }: { busy: boolean; onShare(percent: number): void }) {
  const [percent, setPercent] = useState('50');
  return (
    <form
      class="step-form"
      onSubmit={(event) => {
        event.preventDefault();
        onShare(Number(percent));
      }}
    >
      <TextField
        label="Share of the taker, in percent"
        type="number"
        inputMode="numeric"
        min={0}
        max={100}
        value={percent}
        onInput={setPercent}
        required
        hint="The rest goes back to the opener."
      />
      <button type="submit" class="primary" disabled={busy}>
        {gigStepWords.settle}
      </button>
    </form>
  );
}
