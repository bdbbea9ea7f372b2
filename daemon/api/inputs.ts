/**
 * The fields that routes take in. Every one says in its description what is expected; the same words document it,
 * and tell people what was wrong with what they sent.
 */
import { Type, type TProperties, type TSchema } from 'typebox';
import { PASSPHRASE_MAX, PASSPHRASE_MIN } from '../node/key-files.js';
import { gigSteps, problemView } from './views.js';
import type { GigStep } from '../node/use-cases.js';

const text = (longest: number, description: string) =>
  Type.String({
    minLength: 1,
    maxLength: longest,
    pattern: '\\S',
    description: `${description}, 1 to ${longest} characters`,
  });

/** An object with these fields and no others. */
export const exactly = <Fields extends TProperties>(fields: Fields) =>
  Type.Object(fields, { additionalProperties: false });

/** A path with one id in it. */
export const pathWith = <Name extends string, Field extends TSchema>(name: Name, field: Field) =>
  exactly({ [name]: field } as { [Key in Name]: Field });

export const name = () => text(80, 'a name');
export const contact = () => text(200, 'how to reach the person');
export const reason = () => text(200, 'a reason');
export const memo = () => text(300, 'a memo');
export const title = () => text(80, 'a title');
export const description = () =>
  Type.String({ maxLength: 2000, description: 'a description of at most 2000 characters; may be empty' });

/** Whether a new one is strong enough is for the node to say. */
export const newPassphrase = () =>
  Type.String({
    maxLength: PASSPHRASE_MAX,
    description: `a passphrase of ${PASSPHRASE_MIN} to ${PASSPHRASE_MAX} characters`,
  });
export const passphrase = () =>
  Type.String({
    maxLength: PASSPHRASE_MAX,
    description: `the passphrase, ${PASSPHRASE_MAX} characters at most`,
  });

/** A one-time secret from a link: setup token or invitation code. */
export const linkSecret = () =>
  Type.String({
    pattern: '^[A-Za-z0-9_-]{1,256}$',
    description: 'the part of the link behind the # (letters, digits, - and _)',
  });

export const id = (what: string) =>
  Type.String({ pattern: '^[A-Za-z0-9._-]{1,128}$', description: `the id of ${what}` });

export const doorId = () =>
  Type.String({
    pattern: '^[a-z0-9-]{1,32}$',
    description: 'the id of a door: 1 to 32 lower-case letters, digits and -',
  });

export const doors = () =>
  Type.Union([Type.Array(doorId(), { maxItems: 256 }), Type.Literal('*')], {
    description: 'a list of door ids, or "*" for all',
  });

export const badgeNumber = () =>
  Type.String({
    pattern: '^[\\x21-\\x7e]{1,64}$',
    description: 'the number of a badge as the reader gives it: 1 to 64 ASCII characters without spaces',
  });

export const until = () =>
  Type.Integer({
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'a time in whole milliseconds since 1970',
  });

export const roles = () =>
  Type.Array(Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }), {
    maxItems: 16,
    description: 'a list of at most 16 names of roles',
  });

export const amount = () =>
  Type.Integer({
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'a whole number of credits, 1 or more',
  });

export const stars = () =>
  Type.Integer({ minimum: 1, maximum: 5, description: 'a whole number from 1 to 5' });
export const sharePercent = () =>
  Type.Integer({ minimum: 0, maximum: 100, description: 'a whole number from 0 to 100' });

export const gigStep = () =>
  Type.Unsafe<GigStep>({
    type: 'string',
    enum: gigSteps,
    description: `one of ${gigSteps.join(', ')}`,
  });

/** How many at most; `longest` is the bound. */
export const limit = (longest: number) =>
  Type.Integer({ minimum: 1, maximum: longest, description: `a whole number from 1 to ${longest}` });

export const cursor = () =>
  Type.String({ pattern: '^[\\x21-\\x7e]{1,256}$', description: 'the `next` of the page before' });
export const height = () =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'the height of a merge' });

/** What `town key request` printed; people may have broken the line. */
export const keyCode = () =>
  Type.String({
    pattern: '^[A-Za-z0-9_.\\s-]{1,1024}$',
    description: 'the code of a key: letters, digits, - _ and one dot',
  });
export const memberKey = () =>
  Type.String({ pattern: '^[0-9a-f]{64}$', description: 'a key: 64 lower-case hex digits' });

export const noticeId = () =>
  Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'the id of the newest notice that was read',
  });

/** An entry or merge, by enough of its id to be unique. */
export const ledgerId = () =>
  Type.String({ pattern: '^[0-9a-f]{8,64}$', description: '8 to 64 lower-case hex digits of an id' });

/** The responses of a route: what it gives when all went well, and the one shape of every failure. */
export const answers = <View extends TSchema>(view: View) => ({
  200: view,
  '4xx': problemView,
  '5xx': problemView,
});

/** The responses of a route that has nothing to say when all went well. */
export const answersNothing = () => ({
  204: Type.Null({ description: 'done' }),
  '4xx': problemView,
  '5xx': problemView,
});
