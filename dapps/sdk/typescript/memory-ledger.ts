/**
 * A ledger in memory for the tests of contracts: answers what they ask, carries out what they accept.
 * It keeps accounts and locks as the kernel does (`kernel/accounts`, `kernel/locks`), and refuses what the kernel refuses.
 */
import type { FromContract, ToContract } from '../../../daemon/dapps/protocol.js';
import {
  answerCall,
  type Contract,
  type ContractContext,
  type ContractEntry,
  type Json,
  type JsonObject,
  type Posting,
} from './contract.js';

type Question = Extract<FromContract, { t: 'get' | 'list' }>;
type Answer = Extract<ToContract, { t: 'value' | 'page' | 'refused' }>;
type CallMessage = Exclude<ToContract, Answer>;
export type CallResult = Exclude<FromContract, Question>;
/** Sends one message to a contract and brings its next one: a driver's `exchange`, or `inProcess`. */
export type Exchange = (message: ToContract) => Promise<FromContract>;

interface Account {
  readonly available: number;
  readonly locked: number;
}

/** A contract in this process, behind the same messages as one in a container. */
export function inProcess(contract: Contract): Exchange {
  let ask: ((question: FromContract) => void) | null = null;
  let answer: ((answer: Answer) => void) | null = null;
  return (message) =>
    new Promise((resolve) => {
      ask = resolve;
      if (message.t === 'apply' || message.t === 'test' || message.t === 'query') {
        const put = (question: Question): Promise<Answer> =>
          new Promise((told) => {
            answer = told;
            ask?.(question);
          });
        void answerCall(contract, message, put).then((result) => ask?.(result));
      } else answer?.(message);
    });
}

export class MemoryLedger {
  private readonly values = new Map<string, Map<string, Json>>();
  private calls = 0;
  private entries = 0;
  /** The clock of the next call, ms. */
  now = 1_700_000_000_000;

  /** @param pageItems items of a page at most; small ones show that a contract reads on */
  constructor(
    readonly dapp: string,
    readonly parameters: JsonObject = {},
    private readonly pageItems = 256,
  ) {}

  private collection(dapp: string, name: string): Map<string, Json> {
    const place = `${dapp}/${name}`;
    let found = this.values.get(place);
    if (!found) this.values.set(place, (found = new Map()));
    return found;
  }

  set(dapp: string, collection: string, key: string, value: Json): void {
    if (value === null) this.collection(dapp, collection).delete(key);
    else this.collection(dapp, collection).set(key, value);
  }

  get(dapp: string, collection: string, key: string): Json {
    return this.collection(dapp, collection).get(key) ?? null;
  }

  /** Everything in it as one sorted JSON text, for comparing. */
  snapshot(): string {
    const rows = [...this.values].flatMap(([place, items]) =>
      [...items].map(([key, value]) => `${place}/${key} ${JSON.stringify(value)}`),
    );
    return rows.sort().join('\n');
  }

  answer(question: Question): Answer {
    const { id } = question;
    const items = this.collection(question.dapp ?? this.dapp, question.collection);
    if (question.t === 'get') return { t: 'value', id, value: items.get(question.key) ?? null };
    const limit = Math.min(question.limit ?? 256, this.pageItems);
    const keys = [...items.keys()].filter((key) => key > (question.after ?? '')).sort();
    const page = keys.slice(0, limit).map((key) => ({ key, value: items.get(key) ?? null }));
    return { t: 'page', id, items: page, next: keys.length > limit ? (page.at(-1)?.key ?? null) : null };
  }

  /** One whole call, question by question. Changes nothing. */
  async call(exchange: Exchange, call: CallMessage): Promise<CallResult> {
    let said = await exchange(call);
    while (said.t === 'get' || said.t === 'list') said = await exchange(this.answer(said));
    return said;
  }

  private context(): ContractContext {
    return { town: 'a'.repeat(64), height: 1, time: this.now, tau: this.now, parameters: this.parameters };
  }

  /**
   * Has an entry judged, and carries it out where it is accepted.
   * @param by the member who signs, with roles; null for the node itself
   * @returns the verdict and the entry's id; `refused-by-kernel` where the accounts do not allow it
   */
  async submit(
    exchange: Exchange,
    verb: string,
    by: { readonly member: string; readonly roles?: readonly string[] } | null,
    body: JsonObject,
    node = '0123456789abcdef',
  ): Promise<CallResult & { readonly entry: string }> {
    const n = ++this.entries;
    const id = n.toString(16).padStart(64, '0');
    const entry: ContractEntry = {
      id,
      type: `${this.dapp}.${verb}`,
      node,
      n,
      at: this.now,
      author: { member: by?.member ?? null, roles: by?.roles ?? [], key: 'b'.repeat(64) },
      body,
    };
    const said = await this.call(exchange, { t: 'apply', id: ++this.calls, entry, ctx: this.context() });
    if (said.t !== 'accept') return { ...said, entry: id };
    const refusal = this.post(said.postings, by && `member.${by.member}`, entry);
    if (refusal) return { t: 'reject', id: said.id, code: 'refused-by-kernel', reason: refusal, entry: id };
    for (const { collection, key, value } of said.writes) this.set(this.dapp, collection, key, value);
    return { ...said, entry: id };
  }

  test(exchange: Exchange, entries: readonly string[] = []): Promise<CallResult> {
    return this.call(exchange, { t: 'test', id: ++this.calls, entries, ctx: this.context() });
  }

  query(exchange: Exchange, name: string, args: JsonObject = {}): Promise<CallResult> {
    return this.call(exchange, { t: 'query', id: ++this.calls, name, args, ctx: this.context() });
  }

  balance(account: string): Account {
    return (
      (this.get('kernel', 'accounts', account) as unknown as Account | null) ?? { available: 0, locked: 0 }
    );
  }

  private change(account: string, available: number, locked: number): void {
    const before = this.balance(account);
    const after = { available: before.available + available, locked: before.locked + locked };
    this.set('kernel', 'accounts', account, after);
  }

  /** What the kernel does with postings; null, or why it refuses them all. */
  private post(postings: readonly Posting[], author: string | null, entry: ContractEntry): string | null {
    for (const [index, posting] of postings.entries()) {
      if (posting.op === 'charge') {
        if (author !== null) return 'only a fact charges';
        this.charge(posting, entry, index);
        continue;
      }
      if (posting.op === 'transfer' || posting.op === 'lock') {
        if (posting.from !== author) return 'only the author is debited';
        if (this.balance(posting.from).available < posting.amount) return 'not enough credits';
      }
      if (posting.op === 'transfer') {
        this.change(posting.from, -posting.amount, 0);
        this.change(posting.to, posting.amount, 0);
        continue;
      }
      const key = `${this.dapp}.${posting.id}`;
      if (posting.op === 'lock') {
        if (this.get('kernel', 'locks', key)) return 'this lock exists';
        const { id, from, amount, deadline } = posting;
        this.change(from, -amount, amount);
        this.set('kernel', 'locks', key, {
          dapp: this.dapp,
          id,
          from,
          amount,
          ...(deadline !== undefined && { deadline }),
        });
        continue;
      }
      const lock = this.get('kernel', 'locks', key) as { from: string; amount: number } | null;
      if (!lock) return 'there is no such lock';
      const parts = posting.op === 'post' ? posting.parts : [];
      const paid = parts.reduce((sum, { amount }) => sum + amount, 0);
      if (paid > lock.amount) return 'more is posted than locked';
      this.set('kernel', 'locks', key, null);
      this.change(lock.from, lock.amount - paid, -lock.amount);
      for (const { to, amount } of parts) this.change(to, amount, 0);
    }
    return null;
  }

  /** Metered use: out of the allowance at the fact's node (`kernel/allowances/<member>.<node>`), the rest a due. */
  private charge(
    { member, to, amount }: Posting & { readonly op: 'charge' },
    { id, node, at }: ContractEntry,
    index: number,
  ): void {
    const key = `${member}.${node}`;
    const open = this.get('kernel', 'allowances', key) as { amount: number } | null;
    const taken = Math.min(open?.amount ?? 0, amount);
    if (open && taken > 0) {
      const left = open.amount - taken;
      this.set('kernel', 'allowances', key, left === 0 ? null : { ...open, amount: left });
      this.change(to, taken, 0);
    }
    if (taken < amount) {
      const due = { member, to, amount: amount - taken, entry: id, since: at };
      this.set('kernel', 'dues', index === 0 ? id : `${id}.${index}`, due);
    }
  }
}
