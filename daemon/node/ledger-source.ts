/**
 * Where the objects of a town's history are read from: the repository, what is staged for it, and, where that does not have
 * them whole, the rows of the database that hold the same bytes. Reads only.
 */
import { join } from 'node:path';
import { entriesText } from '../ledger/block.js';
import { parseCommit, parseTree, type GitObject } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readGitObject } from '../store/repository-reader.js';
import type { LedgerRows } from '../store/ledger-rows.js';
import { GENESIS_META, keptGenesis } from './genesis-store.js';
import { NOTES_REF } from './proof-notes.js';
import { gitRefs } from './verify-repository.js';

export class LedgerSource {
  private readonly cache = {};
  private readonly gitdir: string;

  private notes: Oid | null = null;
  /** What was asked for and is neither staged nor in git, with what git said: the rows may have had it. */
  readonly notInGit = new Map<Oid, string>();

  constructor(
    private readonly folder: string,
    private readonly rows: LedgerRows | null,
  ) {
    this.gitdir = join(folder, 'ledger.git');
  }

  /** As git has it. @throws TownError `no-such-object`, `repository-corrupt` */
  fromGit(oid: Oid): Promise<GitObject> {
    return readGitObject(this.gitdir, oid, this.cache);
  }

  /** From git, from what is staged for it, or from the rows. @throws TownError as git said it */
  async read(oid: Oid): Promise<GitObject> {
    try {
      return this.rows?.staged(oid) ?? (await this.fromGit(oid));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.notInGit.set(oid, error.message);
      const raw = this.rows?.commit(oid);
      if (raw) return { oid, type: 'commit', data: raw };
      throw error;
    }
  }

  /** Looks whether git has it, or will: `notInGit` tells. */
  async lookFor(oid: Oid): Promise<void> {
    await this.read(oid).catch((error: unknown) => {
      if (!(error instanceof TownError)) throw error;
    });
  }

  /** The content of a block's one file. @throws TownError where neither git nor the rows have it */
  async entriesOf(commit: GitObject): Promise<Uint8Array> {
    const { tree } = parseCommit(commit.data).fields;
    try {
      const [file] = parseTree((await this.read(tree)).data);
      if (file?.name !== 'entries.jsonl')
        throw new TownError('bad-block', 'A block holds entries.jsonl alone.');
      return (await this.read(file.oid)).data;
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      const texts = this.rows?.entriesOfBlock(sha256(commit.data)) ?? [];
      if (texts.length === 0) throw error;
      return Buffer.from(entriesText(texts.map((text) => ({ text }))));
    }
  }

  /** A file at the root of a merge's tree; null where there is none of this name. @throws TownError as git said it */
  async fileOf(commit: GitObject, name: string): Promise<Uint8Array | null> {
    const root = parseTree((await this.read(parseCommit(commit.data).fields.tree)).data);
    const entry = root.find((child) => child.name === name);
    return entry ? (await this.read(entry.oid)).data : null;
  }

  /** A file of the genesis, of git or as the database keeps it; unchecked as all here. @throws TownError as git said it */
  async genesisFile(commit: GitObject, name: 'charter.json' | 'genesis.json'): Promise<Uint8Array> {
    try {
      const found = await this.fileOf(commit, name);
      if (found !== null) return found;
      throw new TownError('missing-file', `Genesis has no ${name}.`);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      const kept = keptGenesis(this.rows?.meta(GENESIS_META) ?? null);
      if (kept?.[name] !== undefined) return Buffer.from(kept[name]);
      throw error;
    }
  }

  /** What there is of certificates for a merge, unchecked: the database's first, then that of the notes in git. */
  async certificates(height: number, merge: Oid): Promise<readonly string[]> {
    const found = [this.rows?.certificate(height) ?? null, await this.certificateInNotes(merge)];
    return [...new Set(found.filter((text) => text !== null && text !== ''))] as string[];
  }

  private async certificateInNotes(merge: Oid): Promise<string | null> {
    this.notes ??= this.rows?.ref(NOTES_REF) ?? (await gitRefs(this.folder)).get(NOTES_REF) ?? null;
    const at = this.notes;
    if (at === null) return null;
    try {
      const root = parseTree((await this.read(parseCommit((await this.read(at)).data).fields.tree)).data);
      const fan = root.find(({ name }) => name === merge.slice(0, 2));
      const note =
        fan && parseTree((await this.read(fan.oid)).data).find(({ name }) => name === merge.slice(2));
      if (!note) return null;
      const text = Buffer.from((await this.read(note.oid)).data).toString('utf8');
      return /^Certificate: (.*)$/m.exec(text)?.[1] ?? null;
    } catch (error) {
      if (error instanceof TownError) return null;
      throw error;
    }
  }
}
