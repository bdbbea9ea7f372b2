/**
 * The branded types that every module shares. A value gets its brand where it is parsed or made;
 * inside the program a brand is proof that this happened.
 */
declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** 64 lower-case hex digits: a SHA-256. */
export type Sha256 = Brand<string, 'Sha256'>;
/** 40 lower-case hex digits: a git object id (SHA-1). Never trusted for integrity. */
export type Oid = Brand<string, 'Oid'>;
/** 64 lower-case hex digits: an Ed25519 public key. Keys are named by themselves. */
export type KeyId = Brand<string, 'KeyId'>;
/** 16 lower-case hex digits: the start of the SHA-256 of a node's public key. */
export type NodeId = Brand<string, 'NodeId'>;
/** `m` and 16 lower-case hex digits, from the member's first key. */
export type MemberId = Brand<string, 'MemberId'>;
/** The SHA-256 of an entry's canonical bytes, signature included. */
export type EntryId = Brand<string, 'EntryId'>;
/** A whole, non-negative number of credits. */
export type Credits = Brand<number, 'Credits'>;
/** Milliseconds since 1970-01-01T00:00Z, an integer. */
export type Millis = Brand<number, 'Millis'>;

/** Everything JSON can say. State and entry bodies hold integers only. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

export const isSha256 = (text: unknown): text is Sha256 =>
  typeof text === 'string' && /^[0-9a-f]{64}$/.test(text);
export const isKeyId = (text: unknown): text is KeyId =>
  typeof text === 'string' && /^[0-9a-f]{64}$/.test(text);
export const isNodeId = (text: unknown): text is NodeId =>
  typeof text === 'string' && /^[0-9a-f]{16}$/.test(text);
export const isMemberId = (text: unknown): text is MemberId =>
  typeof text === 'string' && /^m[0-9a-f]{16}$/.test(text);

/** Says that the program itself is wrong: an invariant does not hold. Never for bad input. */
export class InvariantError extends Error {
  readonly code = 'invariant';
  override readonly name = 'InvariantError';
}

/** Stops at once when what must hold does not; stays on in production. */
export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new InvariantError(`Invariant broken: ${what}`);
}

/**
 * Bad input, from a person, a file, a dapp or a peer.
 * `code` is stable and for programs; `message` says what was expected and what came;
 * `advice` says what to do next.
 */
export class TownError extends Error {
  override readonly name = 'TownError';
  constructor(
    readonly code: string,
    message: string,
    readonly advice?: string,
  ) {
    super(message);
  }
}
