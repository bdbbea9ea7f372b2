/**
 * The SDK for contracts in TypeScript: `runContract` speaks the protocol of `dapps/README.md` on stdin and stdout.
 * A verb is a function of the entry and of what it reads; it returns `accept(...)`, or `reject(...)`, or throws a `Reject`.
 */
import type {
  ContractContext,
  ContractEntry,
  FromContract,
  Notice,
  Posting,
  ToContract,
  Write,
} from '../../../daemon/dapps/protocol.js';
import type { Json, JsonObject } from '../../../daemon/ledger/ids.js';

export type { ContractContext, ContractEntry, Json, JsonObject, Notice, Posting, Write };

export interface Item {
  readonly key: string;
  readonly value: Json;
}

/** What a contract may read: its own namespace, and those that its manifest names. */
export interface Reader {
  /** One value, or null. `dapp` defaults to the contract's own. */
  get(collection: string, key: string, dapp?: string): Promise<Json>;
  /** All items of a collection above `after`, in bytewise order of their keys, page by page. */
  list(collection: string, options?: { dapp?: string; after?: string }): AsyncIterable<Item>;
}

export interface Accepted {
  readonly t: 'accept';
  readonly writes: readonly Write[];
  readonly postings: readonly Posting[];
  readonly notices: readonly Notice[];
  readonly irregular?: { readonly code: string; readonly reason: string };
}
export interface Rejected {
  readonly t: 'reject';
  readonly code: string;
  readonly reason: string;
}
export type Verdict = Accepted | Rejected;
export type TestResult =
  | { readonly t: 'pass' }
  | {
      readonly t: 'veto';
      readonly entries: readonly string[];
      readonly code: string;
      readonly reason: string;
    };

export const accept = (
  changes: { writes?: readonly Write[]; postings?: readonly Posting[]; notices?: readonly Notice[] } = {},
): Accepted => ({
  t: 'accept',
  writes: changes.writes ?? [],
  postings: changes.postings ?? [],
  notices: changes.notices ?? [],
});
/** A fact that broke a rule: recorded, changes nothing. */
export const irregular = (code: string, reason: string): Accepted => ({
  ...accept(),
  irregular: { code, reason },
});
export const reject = (code: string, reason: string): Rejected => ({ t: 'reject', code, reason });
export const pass: TestResult = { t: 'pass' };
/** `entries`: those of the merge that are at fault, as far as the test can tell. */
export const veto = (entries: readonly string[], code: string, reason: string): TestResult => ({
  t: 'veto',
  entries,
  code,
  reason,
});

/** Throw it anywhere in a verb: the entry is rejected with this code and reason. */
export class Reject extends Error {
  constructor(
    readonly code: string,
    readonly reason: string,
  ) {
    super(reason);
  }
}

export interface Contract {
  readonly verbs: {
    readonly [verb: string]: (
      entry: ContractEntry,
      ctx: ContractContext,
      read: Reader,
    ) => Promise<Verdict> | Verdict;
  };
  /** Is the dapp's own state sound? `entries`: those of this merge that touched it. */
  readonly test?: (entries: readonly string[], ctx: ContractContext, read: Reader) => Promise<TestResult>;
  readonly queries?: {
    readonly [name: string]: (args: JsonObject, ctx: ContractContext, read: Reader) => Promise<Json>;
  };
}

type Question = Extract<FromContract, { t: 'get' | 'list' }>;
type Answer = Extract<ToContract, { t: 'value' | 'page' | 'refused' }>;
type CallMessage = Exclude<ToContract, Answer>;
type Result = Exclude<FromContract, Question>;

function readerOf(id: number, ask: (question: Question) => Promise<Answer>): Reader {
  const put = async <T extends Answer['t']>(question: Question, t: T): Promise<Extract<Answer, { t: T }>> => {
    const answer = await ask(question);
    if (answer.t === 'refused') throw new Error(`${question.t} refused (${answer.code}): ${answer.message}`);
    if (answer.t !== t) throw new Error(`${question.t} answered with ${answer.t}`);
    return answer as Extract<Answer, { t: T }>;
  };
  return {
    async get(collection, key, dapp) {
      return (await put({ t: 'get', id, collection, key, ...(dapp && { dapp }) }, 'value')).value;
    },
    async *list(collection, { dapp, after } = {}) {
      let from = after;
      do {
        const page = await put(
          { t: 'list', id, collection, ...(dapp && { dapp }), ...(from !== undefined && { after: from }) },
          'page',
        );
        yield* page.items;
        from = page.next ?? undefined;
      } while (from !== undefined);
    },
  };
}

/**
 * Answers one call. Pure but for `ask`.
 * @param ask puts a question to the daemon and brings its answer
 */
export async function answerCall(
  contract: Contract,
  call: CallMessage,
  ask: (question: Question) => Promise<Answer>,
): Promise<Result> {
  const { id } = call;
  const read = readerOf(id, ask);
  try {
    if (call.t === 'apply') {
      const name = call.entry.type.slice(call.entry.type.indexOf('.') + 1);
      const verb = Object.hasOwn(contract.verbs, name) ? contract.verbs[name] : undefined;
      if (!verb) return { ...reject('unknown-verb', `There is no verb "${name}".`), id };
      return { ...(await verb(call.entry, call.ctx, read)), id };
    }
    if (call.t === 'test') return { ...((await contract.test?.(call.entries, call.ctx, read)) ?? pass), id };
    const queries = contract.queries ?? {};
    const query = Object.hasOwn(queries, call.name) ? queries[call.name] : undefined;
    if (!query) return { ...reject('unknown-query', `There is no query "${call.name}".`), id };
    return { t: 'result', id, value: await query(call.args, call.ctx, read) };
  } catch (error) {
    if (error instanceof Reject) return { ...reject(error.code, error.reason), id };
    return { t: 'error', id, message: String(error).slice(0, 1000) };
  }
}

/** Serves calls until stdin ends. Call it once, as the last line of the contract's program. */
export function runContract(contract: Contract): void {
  let awaited: ((answer: Answer) => void) | null = null;
  const say = (message: FromContract): void => void process.stdout.write(`${JSON.stringify(message)}\n`);
  const ask = (question: Question): Promise<Answer> =>
    new Promise((resolve) => {
      awaited = resolve;
      say(question);
    });
  const hear = (line: string): void => {
    const message = JSON.parse(line) as ToContract;
    if (message.t === 'apply' || message.t === 'test' || message.t === 'query') {
      void answerCall(contract, message, ask).then(say);
    } else {
      const resolve = awaited;
      awaited = null;
      resolve?.(message);
    }
  };
  // Lines end with a line feed and nothing else; `node:readline` would also cut at U+2028.
  let rest = '';
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) hear(line);
  });
  process.stdin.on('end', () => process.exit(0));
}
