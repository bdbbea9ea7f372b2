/**
 * The schemas of what the API answers: one per shape of `daemon/node/use-cases.ts`. They serialise (what is not in the
 * schema does not leave the daemon) and make the OpenAPI components. The compiler holds each equal to its shape.
 */
import { Type, type Static, type TSchema, type TUnsafe } from 'typebox';
import type { JsonObject } from '../ledger/ids.js';
import type { NoticesView, NoticeView } from '../node/notice-cases.js';
import type * as Shape from '../node/use-cases.js';
import type { Problem } from './errors.js';

type Mutable<T> = T extends readonly (infer Item)[]
  ? Mutable<Item>[]
  : T extends object
    ? { -readonly [Key in keyof T]: Mutable<T[Key]> }
    : T;
type Same<A, B> = [Mutable<A>] extends [Mutable<B>]
  ? [Mutable<B>] extends [Mutable<A>]
    ? unknown
    : never
  : never;

const components: TSchema[] = [];

/** Names a schema for `#/components/schemas` and gives the reference to it, typed as the shape it stands for. */
export const component =
  <View>() =>
  <Schema extends TSchema>($id: string, schema: Schema & Same<Static<Schema>, View>): TUnsafe<View> => {
    components.push({ ...(schema as TSchema), $id } as TSchema);
    return Type.Unsafe<View>({ $ref: `${$id}#` });
  };

/** Every shared schema; the server adds them before its routes. */
export const sharedSchemas = (): readonly TSchema[] => components;

export const orNull = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
export const oneOf = <const Words extends readonly string[]>(...words: Words) =>
  Type.Unsafe<Words[number]>({ type: 'string', enum: words });
export const millis = () => Type.Integer({ description: 'milliseconds since 1970-01-01T00:00Z' });
export const credits = () => Type.Integer({ minimum: 0, description: 'whole credits' });
export const count = () => Type.Integer({ minimum: 0 });
const doorList = () => Type.Union([Type.Array(Type.String()), Type.Literal('*')]);
const json = () => Type.Unsafe<JsonObject>({ type: 'object', additionalProperties: true });
export const merged = () => oneOf('pending', 'merged');

export const problemView = component<{ error: Problem }>()(
  'Problem',
  Type.Object({
    error: Type.Object({
      code: Type.String({ description: 'stable, for programs' }),
      message: Type.String({ description: 'what was expected and what came' }),
      advice: Type.Optional(Type.String({ description: 'what to do next' })),
    }),
  }),
);

export const entryView = component<Shape.EntryView>()(
  'Entry',
  Type.Object({
    id: Type.String(),
    type: Type.String(),
    at: millis(),
    node: Type.String(),
    n: count(),
    line: Type.Optional(Type.String({ description: 'the draft it was recorded on; absent: main' })),
    by: Type.String(),
    member: orNull(Type.String()),
    state: oneOf('pending', 'merged', 'rejected'),
    verdict: orNull(oneOf('accepted', 'rejected', 'irregular')),
    code: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String()),
    other: Type.Optional(Type.String()),
    merge: Type.Optional(Type.String()),
    height: Type.Optional(count()),
    says: Type.String(),
    body: json(),
  }),
);

export const mergeView = component<Shape.MergeView>()(
  'Merge',
  Type.Object({
    height: count(),
    id: Type.String(),
    oid: Type.String(),
    content: Type.String(),
    time: millis(),
    by: Type.String(),
    heads: Type.Array(Type.Object({ node: Type.String(), id: Type.String(), entries: count() })),
    counts: Type.Object({ accepted: count(), rejected: count(), irregular: count() }),
    testedBy: Type.Array(Type.String()),
    attestedBy: Type.Array(Type.String()),
    entries: Type.Optional(Type.Array(entryView)),
  }),
);

export const branchView = component<Shape.BranchView>()(
  'Branch',
  Type.Object({
    node: Type.String(),
    name: Type.String(),
    seq: Type.Integer(),
    head: orNull(Type.String()),
    unmerged: count(),
  }),
);

export const badgeView = component<Shape.BadgeView>()(
  'Badge',
  Type.Object({
    badge: Type.String(),
    person: Type.String(),
    doors: doorList(),
    status: oneOf('active', 'revoked'),
    until: Type.Optional(millis()),
    reason: Type.Optional(Type.String()),
    state: merged(),
  }),
);

export const personView = component<Shape.PersonView>()(
  'Person',
  Type.Object({
    id: Type.String(),
    name: orNull(Type.String()),
    contact: orNull(Type.String()),
    record: oneOf('readable', 'erased', 'not-here'),
    status: oneOf('active', 'suspended'),
    reason: Type.Optional(Type.String()),
    member: orNull(Type.String()),
    badges: Type.Array(badgeView),
    state: merged(),
  }),
);

export const doorEventView = component<Shape.DoorEventView>()(
  'DoorEvent',
  Type.Object({
    id: Type.String(),
    at: millis(),
    door: Type.String(),
    kind: oneOf('tap', 'exit', 'open', 'late'),
    outcome: oneOf('granted', 'refused'),
    code: oneOf(
      'granted',
      'exit-button',
      'remote-open',
      'unknown-badge',
      'badge-revoked',
      'person-suspended',
      'badge-expired',
      'no-right-here',
      'lockdown',
      'unknown-door',
      'no-table',
      'stale-table',
      'bad-read',
    ),
    reason: Type.Optional(Type.String()),
    badge: Type.Optional(Type.String()),
    person: Type.Optional(Type.String()),
    by: Type.Optional(Type.String()),
    table: Type.Integer(),
    of: Type.Optional(Type.String()),
    waitedMs: Type.Optional(Type.Number()),
    personName: orNull(Type.String()),
    entry: orNull(Type.String()),
  }),
);

export const doorView = component<Shape.DoorView>()(
  'Door',
  Type.Object({
    id: Type.String(),
    name: Type.String(),
    node: Type.String(),
    mode: oneOf('normal', 'lockdown'),
    here: Type.Boolean(),
    reader: orNull(oneOf('simulated', 'wiegand')),
    strikeOn: Type.Boolean(),
    last: orNull(doorEventView),
  }),
);

export const memberView = component<Shape.MemberView>()(
  'Member',
  Type.Object({
    id: Type.String(),
    name: orNull(Type.String()),
    roles: Type.Array(Type.String()),
    keys: Type.Array(Type.Object({ key: Type.String(), status: oneOf('active', 'revoked') })),
    balance: orNull(credits()),
    locked: orNull(credits()),
    incoming: orNull(credits()),
    status: oneOf('active', 'suspended', 'left'),
    here: Type.Boolean(),
  }),
);

export const gigSteps = [
  'take',
  'withdraw',
  'accept',
  'decline',
  'submit',
  'complete',
  'accept-rating',
  'dispute',
  'settle',
  'close',
  'cancel',
] as const satisfies readonly Shape.GigStep[];

export const gigView = component<Shape.GigView>()(
  'Gig',
  Type.Object({
    id: Type.String(),
    opener: Type.String(),
    openerName: orNull(Type.String()),
    taker: orNull(Type.String()),
    takerName: orNull(Type.String()),
    title: Type.String(),
    description: Type.String(),
    price: credits(),
    status: oneOf(
      'open',
      'taken',
      'accepted',
      'submitted',
      'rated',
      'completed',
      'cancelled',
      'disputed',
      'settled',
      'expired',
    ),
    stars: orNull(Type.Integer()),
    payout: orNull(credits()),
    details: Type.String(),
    state: merged(),
    can: Type.Array(oneOf(...gigSteps)),
  }),
);

export const statusView = component<Shape.StatusView>()(
  'Status',
  Type.Object({
    town: Type.Object({ id: Type.String(), name: Type.String(), preset: Type.String() }),
    node: Type.Object({ id: Type.String(), name: Type.String() }),
    version: Type.String(),
    needsSetup: Type.Boolean(),
    catchingUp: Type.Optional(
      Type.Object(
        { height: count() },
        {
          description:
            'it stands on the state at this merge while it goes through the history; it does not vote',
        },
      ),
    ),
    height: count(),
    main: Type.String(),
    pendingEntries: count(),
    merging: Type.Boolean(),
    alarm: orNull(Type.Object({ code: Type.String(), message: Type.String() })),
    gate: Type.Object({
      connected: Type.Boolean(),
      board: orNull(Type.String()),
      simulated: Type.Boolean(),
    }),
    dapps: Type.Object({
      driver: oneOf('container', 'process', 'starting'),
      isolated: Type.Boolean(),
      ready: Type.Boolean(),
      list: Type.Array(
        Type.Object({
          name: Type.String(),
          version: Type.String(),
          digest: Type.String(),
          /** Why the town has suspended it. */
          suspended: orNull(Type.String()),
        }),
      ),
      warning: orNull(Type.String()),
    }),
    broker: Type.Object({ listening: Type.Boolean(), port: orNull(Type.Integer()) }),
    supply: Type.Object({
      total: credits(),
      vault: credits(),
      members: credits(),
      locked: credits(),
      allowances: credits(),
      suspense: credits(),
    }),
    validators: Type.Object({ count: count(), quorum: count(), mayBeOff: count(), heard: count() }),
    peers: Type.Object({ count: count(), connected: count() }),
    next: Type.Object({
      state: oneOf('nothing', 'due', 'open', 'parked', 'diverged'),
      epoch: count(),
      round: orNull(count()),
      parkedSince: orNull(millis()),
      connected: Type.Array(Type.String(), { description: 'names of the other nodes that are connected' }),
      away: Type.Array(Type.String(), { description: 'names of the validators that are not heard' }),
    }),
    startedAt: millis(),
  }),
);

const sessionFields = {
  token: Type.String({ description: 'for "Authorization: Bearer"; empty when asked for through the cookie' }),
  member: Type.String(),
  name: Type.String(),
  roles: Type.Array(Type.String()),
  permissions: Type.Array(Type.String()),
  expiresAt: millis(),
};

export const sessionView = component<Shape.SessionView>()('Session', Type.Object(sessionFields));

export const joinedView = component<Shape.SessionView & { entry: string }>()(
  'Joined',
  Type.Object({ ...sessionFields, entry: Type.String() }),
);

const recordedFields = {
  entry: Type.String({ description: 'id of the entry; durable now' }),
  state: Type.Literal('pending'),
};

export const recordedView = component<Shape.Recorded>()('Recorded', Type.Object(recordedFields));
export const personRecordedView = component<Shape.Recorded & { person: string }>()(
  'PersonRecorded',
  Type.Object({ ...recordedFields, person: Type.String() }),
);
export const badgeRecordedView = component<Shape.Recorded & { badge: string }>()(
  'BadgeRecorded',
  Type.Object({ ...recordedFields, badge: Type.String() }),
);
export const gigRecordedView = component<Shape.Recorded & { gig: string }>()(
  'GigRecorded',
  Type.Object({ ...recordedFields, gig: Type.String() }),
);

export const invitationView = component<{ code: string; link: string; expiresAt: number }>()(
  'Invitation',
  Type.Object({ code: Type.String(), link: Type.String(), expiresAt: millis() }),
);

export const enrolmentStartedView = component<{ enrolment: string; expiresAt: number }>()(
  'EnrolmentStarted',
  Type.Object({ enrolment: Type.String(), expiresAt: millis() }),
);

export const enrolmentView = component<Shape.TownEvent & { kind: 'enrol' }>()(
  'Enrolment',
  Type.Object({
    kind: Type.Literal('enrol'),
    enrolment: Type.String(),
    status: oneOf('waiting', 'read', 'done', 'expired', 'failed'),
    person: Type.String(),
    badge: Type.Optional(Type.String()),
    message: Type.Optional(Type.String()),
  }),
);

export const noticeView = component<NoticeView>()(
  'Notice',
  Type.Object({
    id: count(),
    at: millis(),
    text: Type.String(),
    entry: orNull(Type.String()),
    code: orNull(Type.String()),
    other: orNull(Type.String()),
    read: Type.Boolean(),
  }),
);

export const noticesView = component<NoticesView>()(
  'Notices',
  Type.Object({ items: Type.Array(noticeView), unread: count() }),
);

export const townEventView = component<Shape.TownEvent>()(
  'TownEvent',
  Type.Union([
    Type.Object({ kind: Type.Literal('door'), event: doorEventView }),
    Type.Object({ kind: Type.Literal('strike'), door: Type.String(), on: Type.Boolean(), at: millis() }),
    enrolmentView,
    Type.Object({ kind: Type.Literal('entry'), entry: entryView }),
    Type.Object({ kind: Type.Literal('merge'), merge: mergeView }),
    Type.Object({ kind: Type.Literal('nodes') }),
    Type.Object({ kind: Type.Literal('notice'), member: Type.String(), notice: noticeView }),
    Type.Object({ kind: Type.Literal('status'), status: statusView }),
  ]),
);

const explainedView = component<Shape.Explained>()(
  'Explained',
  Type.Object({
    story: Type.Array(Type.String(), { description: 'plain sentences' }),
    other: Type.Optional(entryView),
    changes: orNull(
      Type.Array(
        Type.Object({ path: Type.String(), before: orNull(Type.String()), after: orNull(Type.String()) }),
        { description: 'what it changed in the state; values are canonical JSON, long ones cut' },
      ),
    ),
    more: Type.Integer({ description: 'changes that are left out' }),
  }),
);

export const shownView = component<Shape.Shown>()(
  'Shown',
  Type.Union([
    Type.Object({
      kind: Type.Literal('entry'),
      entry: entryView,
      explained: Type.Optional(explainedView),
    }),
    Type.Object({
      kind: Type.Literal('merge'),
      merge: mergeView,
      explained: Type.Optional(explainedView),
    }),
  ]),
);

export const entryPageView = component<Shape.Page<Shape.EntryView>>()(
  'EntryPage',
  Type.Object({ items: Type.Array(entryView), next: orNull(Type.String()) }),
);

export const mergePageView = component<Shape.Page<Shape.MergeView>>()(
  'MergePage',
  Type.Object({ items: Type.Array(mergeView), next: orNull(Type.String()) }),
);

export const charterView = component<JsonObject>()('Charter', json());

/** A bare list of one of the views. */
export const listOf = <View>(view: TUnsafe<View>): TUnsafe<readonly View[]> =>
  Type.Unsafe<readonly View[]>(Type.Array(view));
