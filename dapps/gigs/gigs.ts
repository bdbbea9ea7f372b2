/**
 * Gigs: work that one member offers and another does, for credits (DiTo's rules, seeds 000 and 002).
 * Opening locks the price; each end of a gig posts or releases that lock, once. The gig's id is its opening entry's.
 *
 *   open → taken → accepted → submitted → completed          five stars, or nobody rated in time
 *                                       ↘ rated → completed  accepted by the taker, or not disputed in time
 *                                               ↘ disputed → settled
 *   open, taken → cancelled;   taken, accepted → open (withdraw), taken → open (decline)
 */
import { createHash } from 'node:crypto';
import {
  accept,
  pass,
  Reject,
  veto,
  type Accepted,
  type Contract,
  type ContractContext,
  type ContractEntry,
  type Json,
  type JsonObject,
  type Notice,
  type Posting,
  type Reader,
} from '../sdk/typescript/contract.js';
import { asObject, integer, matching, onlyFields, text } from '../sdk/typescript/body.js';
import { parametersOf } from './parameters.js';

export type GigStatus =
  'open' | 'taken' | 'accepted' | 'submitted' | 'rated' | 'completed' | 'cancelled' | 'disputed' | 'settled';

/** One value of `gigs`. `details`: SHA-256 of the canonical JSON of `{description, title}`; `since`: of the status, ms. */
export interface Gig {
  readonly opener: string;
  readonly taker: string | null;
  readonly title: string;
  readonly description: string;
  readonly price: number;
  readonly status: GigStatus;
  readonly stars: number | null;
  /** Credits that the taker got, or will get for this rating. */
  readonly payout: number | null;
  readonly details: string;
  readonly since: number;
}

const LIVE: readonly GigStatus[] = ['open', 'taken', 'accepted', 'submitted', 'rated', 'disputed'];
const account = (member: string): string => `member.${member}`;

/** SHA-256 (hex) of what a gig is about; every later step names it. For these two fields JSON.stringify is RFC 8785. */
export const detailsOf = (title: string, description: string): string =>
  createHash('sha256').update(JSON.stringify({ description, title })).digest('hex');

function memberOf({ author }: ContractEntry): string {
  if (author.member === null) throw new Reject('members-only', 'Gigs are for credit members.');
  return author.member;
}

/** One step of a gig, everything about it checked that all steps have in common. */
interface Step {
  readonly id: string;
  readonly gig: Gig;
  readonly me: string;
  readonly ctx: ContractContext;
}

const says = (statuses: readonly string[]): string => statuses.join(' or ');

async function stepOf(
  entry: ContractEntry,
  ctx: ContractContext,
  read: Reader,
  expected: readonly GigStatus[],
  more: readonly string[] = [],
): Promise<Step> {
  onlyFields(entry.body, 'gig', 'details', ...more);
  const me = memberOf(entry);
  const id = matching(entry.body, 'gig', /^[0-9a-f]{64}$/, 'the id of a gig: 64 hex digits');
  const details = matching(
    entry.body,
    'details',
    /^[0-9a-f]{64}$/,
    'the SHA-256 of the details: 64 hex digits',
  );
  const gig = (await read.get('gigs', id)) as unknown as Gig | null;
  if (!gig) throw new Reject('unknown-gig', `There is no gig ${id.slice(0, 12)}….`);
  if (gig.details !== details)
    throw new Reject(
      'details-differ',
      'The details named are not those of the gig: read it again before you go on.',
    );
  if (!expected.includes(gig.status))
    throw new Reject(
      'wrong-status',
      `This step needs a gig that is ${says(expected)}; this one is ${gig.status}.`,
    );
  return { id, gig, me, ctx };
}

function onlyOpener({ gig, me }: Step): void {
  if (me !== gig.opener) throw new Reject('not-yours', 'Only who opened the gig may do this.');
}

function onlyTaker({ gig, me }: Step): void {
  if (me !== gig.taker) throw new Reject('not-yours', 'Only who took the gig may do this.');
}

function become(
  { id, gig, ctx }: Step,
  change: Partial<Gig>,
  { postings = [], notices = [] }: { postings?: readonly Posting[]; notices?: readonly Notice[] } = {},
): Accepted {
  const value = { ...gig, ...change, since: ctx.tau } as unknown as Json;
  return accept({ writes: [{ collection: 'gigs', key: id, value }], postings, notices });
}

const tell = (member: string | null, words: string): readonly Notice[] =>
  member ? [{ member, text: words }] : [];

/** The whole lock: `payout` to the taker, the rest to `restTo`. Parts of nothing are left out. */
function pay({ id, gig }: Step, payout: number, restTo: string): readonly Posting[] {
  const parts = [
    { to: account(gig.taker as string), amount: payout },
    { to: restTo, amount: gig.price - payout },
  ].filter(({ amount }) => amount > 0);
  return [{ op: 'post', id, parts }];
}

const percentOf = (price: number, percent: number): number => Math.floor((price * percent) / 100);

function completed(step: Step, stars: number | null, payout: number): Accepted {
  return become(
    step,
    { status: 'completed', stars, payout },
    {
      postings: pay(step, payout, 'vault'),
      notices: tell(
        step.gig.taker,
        `A gig of yours is completed: ${payout} of ${step.gig.price} credits are paid to you.`,
      ),
    },
  );
}

export const gigs: Contract = {
  verbs: {
    open(entry, ctx) {
      const { body, id } = entry;
      onlyFields(body, 'title', 'description', 'price');
      const opener = memberOf(entry);
      const { priceMin, priceMax } = parametersOf(ctx);
      const title = text(body, 'title', 80);
      const description = text(body, 'description', 2000, { lines: true, min: 0 });
      const price = integer(body, 'price', priceMin, priceMax);
      const details = detailsOf(title, description);
      const rest = { taker: null, stars: null, payout: null };
      const gig: Gig = {
        opener,
        title,
        description,
        price,
        status: 'open',
        details,
        since: ctx.tau,
        ...rest,
      };
      return accept({
        writes: [{ collection: 'gigs', key: id, value: gig as unknown as Json }],
        postings: [{ op: 'lock', id, from: account(opener), amount: price }],
      });
    },

    async take(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['open']);
      if (step.me === step.gig.opener) throw new Reject('own-gig', 'Nobody takes their own gig.');
      return become(
        step,
        { status: 'taken', taker: step.me },
        { notices: tell(step.gig.opener, 'Your gig is taken: accept or decline.') },
      );
    },

    async withdraw(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['taken', 'accepted']);
      onlyTaker(step);
      return become(
        step,
        { status: 'open', taker: null },
        { notices: tell(step.gig.opener, 'The taker of your gig stepped back.') },
      );
    },

    async accept(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['taken']);
      onlyOpener(step);
      return become(
        step,
        { status: 'accepted' },
        { notices: tell(step.gig.taker, 'You are accepted for a gig.') },
      );
    },

    async decline(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['taken']);
      onlyOpener(step);
      return become(
        step,
        { status: 'open', taker: null },
        { notices: tell(step.gig.taker, 'You are declined for a gig.') },
      );
    },

    async submit(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['accepted']);
      onlyTaker(step);
      return become(
        step,
        { status: 'submitted' },
        { notices: tell(step.gig.opener, 'The work on your gig is submitted: rate it.') },
      );
    },

    async complete(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['submitted'], ['stars']);
      onlyOpener(step);
      const stars = integer(entry.body, 'stars', 1, 5);
      const payout = percentOf(step.gig.price, parametersOf(ctx).payoutPercent[stars - 1] as number);
      if (stars === 5) return completed(step, stars, payout);
      return become(
        step,
        { status: 'rated', stars, payout },
        {
          notices: tell(
            step.gig.taker,
            `Your work got ${stars} of 5 stars: accept the rating or dispute it.`,
          ),
        },
      );
    },

    async 'accept-rating'(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['rated']);
      onlyTaker(step);
      return completed(step, step.gig.stars, step.gig.payout as number);
    },

    async dispute(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['rated']);
      onlyTaker(step);
      if (ctx.tau >= step.gig.since + parametersOf(ctx).disputeWindowMs)
        throw new Reject('too-late', 'The time to dispute this rating is over.');
      return become(
        step,
        { status: 'disputed' },
        { notices: tell(step.gig.opener, 'Your rating of a gig is disputed.') },
      );
    },

    /** The taker gets the arbiter's share, the opener the rest. */
    async settle(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['disputed'], ['sharePercent']);
      const { arbiterRole } = parametersOf(ctx);
      if (!entry.author.roles.includes(arbiterRole))
        throw new Reject('not-an-arbiter', `Only a member with the role "${arbiterRole}" settles disputes.`);
      const { opener, taker, price } = step.gig;
      if (step.me === opener || step.me === taker)
        throw new Reject('party-to-it', 'The arbiter is neither the opener nor the taker.');
      const payout = percentOf(price, integer(entry.body, 'sharePercent', 0, 100));
      const words = `The dispute is settled: ${payout} of ${price} credits go to the taker.`;
      return become(
        step,
        { status: 'settled', payout },
        {
          postings: payout > 0 ? pay(step, payout, account(opener)) : [{ op: 'release', id: step.id }],
          notices: [...tell(opener, words), ...tell(taker, words)],
        },
      );
    },

    /** By any member: nobody gets work for nothing by waiting, nobody holds a payout up by being silent. */
    async close(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['submitted', 'rated']);
      const { rateWindowMs, disputeWindowMs } = parametersOf(ctx);
      const { status, since, stars, price, payout } = step.gig;
      const endsAt = since + (status === 'submitted' ? rateWindowMs : disputeWindowMs);
      if (ctx.tau < endsAt)
        throw new Reject('too-early', `This gig can be closed after ${new Date(endsAt).toISOString()}.`);
      return completed(step, stars, status === 'submitted' ? price : (payout as number));
    },

    async cancel(entry, ctx, read) {
      const step = await stepOf(entry, ctx, read, ['open', 'taken']);
      onlyOpener(step);
      return become(
        step,
        { status: 'cancelled' },
        {
          postings: [{ op: 'release', id: step.id }],
          notices: tell(step.gig.taker, 'A gig that you took is cancelled.'),
        },
      );
    },
  },

  /** Every live gig has its price locked, and nothing else is locked in the name of gigs. */
  async test(entries, _ctx, read) {
    const locks = new Map<string, JsonObject>();
    for await (const { key, value } of read.list('locks', { dapp: 'kernel', after: 'gigs.' })) {
      if (!key.startsWith('gigs.')) break;
      locks.set(key.slice('gigs.'.length), asObject(value) ?? {});
    }
    for await (const { key, value } of read.list('gigs')) {
      const { status, price, opener } = value as unknown as Gig;
      const lock = locks.get(key);
      locks.delete(key);
      const fault = LIVE.includes(status)
        ? lock?.['amount'] !== price || lock['from'] !== account(opener)
        : lock !== undefined;
      if (fault)
        return veto(
          entries,
          'lock-differs',
          `The lock of gig ${key.slice(0, 12)}… (${status}) is not what it must be.`,
        );
    }
    const [stray] = locks.keys();
    return stray === undefined
      ? pass
      : veto(entries, 'lock-differs', `The lock ${stray.slice(0, 12)}… belongs to no gig.`);
  },
};
