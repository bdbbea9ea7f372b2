/** Gigs: use cases of the job board. The rules are the dapp's; this shows what a person may do next. */
import { createHash } from 'node:crypto';
import { canonicalize } from '../ledger/canonical.js';
import { STEWARD } from '../ledger/charter.js';
import type { JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readMember } from '../ledger/kernel.js';
import { readJson } from '../ledger/state.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import type { MainLine } from './main-line.js';
import type { Names } from './names.js';
import { keysOf, recorded } from './people.js';
import type { Sessions } from './sessions.js';
import type { GigStep, GigView, Recorded } from './use-cases.js';
import type { View } from './view.js';

const GIGS_MAX = 10_000;

/** As the gigs dapp keeps a gig. */
interface GigRecord {
  readonly opener: string;
  readonly taker: string | null;
  readonly title: string;
  readonly description: string;
  readonly price: number;
  readonly status: GigView['status'];
  readonly stars: number | null;
  readonly payout: number | null;
  readonly details: string;
  readonly since: number;
}

interface Windows {
  readonly rateWindowMs: number;
  readonly disputeWindowMs: number;
}

export class Gigs {
  constructor(
    private readonly view: View,
    private readonly main: MainLine,
    private readonly appender: Appender,
    private readonly names: Names,
    private readonly sessions: Sessions,
    private readonly clock: Clock,
  ) {}

  list(token: string): readonly GigView[] {
    const { member } = this.sessions.need(token);
    const gigs = [...keysOf(this.view.state, 'gigs', 'gigs', GIGS_MAX)].map((id) => ({
      id,
      gig: this.read(id),
    }));
    gigs.sort((a, b) => b.gig.since - a.gig.since || (a.id < b.id ? -1 : 1));
    return gigs.map(({ id, gig }) => this.gigView(id, gig, member));
  }

  private read(id: string): GigRecord {
    const gig = readJson<GigRecord>(this.view.state, 'gigs', 'gigs', id);
    if (!gig)
      throw new TownError('not-found', `There is no gig ${id.slice(0, 12)}….`, 'See the list of gigs.');
    return gig;
  }

  private gigView(id: string, gig: GigRecord, me: string): GigView {
    const { since: _since, ...shown } = gig;
    const merged = this.main.seen.get('gigs', 'gigs', id) === this.view.state.get('gigs', 'gigs', id);
    return {
      id,
      ...shown,
      openerName: this.names.ofMember(gig.opener),
      takerName: gig.taker === null ? null : this.names.ofMember(gig.taker),
      state: merged ? 'merged' : 'pending',
      can: this.stepsOf(gig, me),
    };
  }

  /** What the charter's rules leave open to this member; the contract judges again. */
  private stepsOf(gig: GigRecord, me: string): readonly GigStep[] {
    const opener = gig.opener === me;
    const taker = gig.taker === me;
    const parameters = this.main.charter.dapps.find(({ name }) => name === 'gigs')?.parameters as unknown as
      Windows | undefined;
    const waited = (window: number | undefined): GigStep[] =>
      window !== undefined && this.clock.now() >= gig.since + window ? ['close'] : [];
    switch (gig.status) {
      case 'open':
        return opener ? ['cancel'] : ['take'];
      case 'taken':
        return opener ? ['accept', 'decline', 'cancel'] : taker ? ['withdraw'] : [];
      case 'accepted':
        return taker ? ['submit', 'withdraw'] : [];
      case 'submitted':
        return [...(opener ? (['complete'] as const) : []), ...waited(parameters?.rateWindowMs)];
      case 'rated':
        return [
          ...(taker ? (['accept-rating', 'dispute'] as const) : []),
          ...waited(parameters?.disputeWindowMs),
        ];
      case 'disputed':
        return !opener && !taker && readMember(this.view.state, me)?.roles.includes(STEWARD)
          ? ['settle']
          : [];
      default:
        return [];
    }
  }

  async open(
    token: string,
    input: { title: string; description: string; price: number },
  ): Promise<Recorded & { gig: string }> {
    const session = this.sessions.needPermission(token, 'gigs.open');
    const body = { title: input.title.trim(), description: input.description.trim(), price: input.price };
    const entry = await this.appender.claim('gigs.open', body, session);
    return { ...recorded(entry), gig: entry.id };
  }

  async step(
    token: string,
    id: string,
    step: GigStep,
    input: { stars?: number | undefined; sharePercent?: number | undefined },
  ): Promise<Recorded> {
    const session = this.sessions.needPermission(token, `gigs.${step}`);
    const { title, description } = this.read(id);
    const details = createHash('sha256').update(canonicalize({ title, description })).digest('hex');
    const more: { [name: string]: number } = {};
    if (step === 'complete') {
      if (input.stars === undefined)
        throw new TownError(
          'bad-stars',
          'A gig is completed with a rating of 1 to 5 stars.',
          'Say how many.',
        );
      more['stars'] = input.stars;
    }
    if (step === 'settle') {
      if (input.sharePercent === undefined)
        throw new TownError(
          'bad-share',
          'A dispute is settled with a share of 0 to 100 percent for the taker.',
          'Say how many.',
        );
      more['sharePercent'] = input.sharePercent;
    }
    const body: JsonObject = { gig: id, details, ...more };
    return recorded(await this.appender.claim(`gigs.${step}`, body, session));
  }
}
