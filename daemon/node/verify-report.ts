/** What a verification finds, and what people are told to do about it. */

/** What part of the data folder a problem is in; repairs go by it. */
export type ProblemKind = 'history' | 'git' | 'refs' | 'database' | 'keys' | 'files' | 'dapps';

export interface VerifyProblem {
  readonly kind: ProblemKind;
  /** What it is about: `merge 12`, `block 3f…`, `state`, or a file. */
  readonly where: string;
  readonly what: string;
  readonly repair: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly checked: {
    readonly merges: number;
    readonly blocks: number;
    readonly entries: number;
    readonly gitObjects: number;
    readonly rows: number;
    readonly values: number;
    readonly files: number;
  };
  /** At most 100; the first of each kind is always among them. */
  readonly problems: readonly VerifyProblem[];
  /** What is right, and good to know: a log that the power cut off, say. */
  readonly notes: readonly string[];
}

const PROBLEMS_MAX = 100;

const HERE = 'Stop the daemon, and run `town verify --repair`: this node has what it takes.';
const FROM_PEERS =
  'Stop the daemon, and run `town verify --repair`. What this node has no second copy of, another node or a mirror has: fetch it with ' +
  'stock git ("git -C ledger.git fetch --refetch <their ledger.git> +refs/heads/main:refs/heads/main") and repair again, or join the ' +
  'town anew with an empty folder (`town node invite` at another node, `town join` here).';

/** What is to be done about each kind. */
const repairs: { readonly [kind in ProblemKind]: string } = {
  history: FROM_PEERS,
  git: HERE,
  refs: HERE,
  database: HERE,
  files: HERE,
  dapps:
    'Nothing is known to be wrong from there on: it could not be judged. See to it that the dapp can run (memory, a less busy machine, ' +
    'the container engine; --driver process needs none), and verify again.',
  keys: 'There is no other copy of a key on this node: put the file back from where you keep one, or join the town again.',
};

export class Findings {
  readonly problems: VerifyProblem[] = [];
  readonly notes: string[] = [];
  readonly checked = { merges: 0, blocks: 0, entries: 0, gitObjects: 0, rows: 0, values: 0, files: 0 };
  private readonly kinds = new Set<ProblemKind>();

  problem(kind: ProblemKind, where: string, what: string, repair = repairs[kind]): void {
    const isFirst = !this.kinds.has(kind);
    this.kinds.add(kind);
    if (this.problems.length >= PROBLEMS_MAX && !isFirst) return;
    if (this.problems.some((one) => one.kind === kind && one.where === where && one.what === what)) return;
    this.problems.push({ kind, where, what, repair });
  }

  has(kind: ProblemKind): boolean {
    return this.kinds.has(kind);
  }

  report(): VerifyReport {
    const { problems, notes, checked } = this;
    return { ok: problems.length === 0, checked, problems, notes };
  }
}
