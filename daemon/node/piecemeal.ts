/** Objects that come in pieces, in the order in which they were asked for. */
import type { GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import { gitHash } from '../store/database.js';
import type { ObjectPiece } from '../sync/object-batch.js';

export class Piecemeal {
  private part: { readonly oid: Oid; readonly pieces: ObjectPiece[]; bytes: number } | null = null;

  /** How much of this object is here, in bytes. */
  have(oid: Oid | undefined): number {
    return this.part !== null && this.part.oid === oid ? this.part.bytes : 0;
  }

  /**
   * Takes an answer to a question for these objects; what is cut off at its end waits for its rest.
   * @returns the objects that are whole by now
   * @throws TownError `bad-object`: what came is not what was asked for, and the begun one is forgotten
   */
  take(pieces: readonly ObjectPiece[], asked: readonly Oid[]): readonly GitObject[] {
    const whole: GitObject[] = [];
    try {
      for (const [index, piece] of pieces.entries()) {
        const oid = asked[index];
        if (oid === undefined) throw other();
        const object = this.joined(oid, piece);
        if (object !== null) whole.push(object);
      }
    } catch (error) {
      this.part = null;
      throw error;
    }
    return whole;
  }

  private joined(oid: Oid, piece: ObjectPiece): GitObject | null {
    const begun = this.part?.oid === oid ? this.part : { oid, pieces: [], bytes: 0 };
    const [first] = begun.pieces;
    const isOther = first !== undefined && (first.type !== piece.type || first.size !== piece.size);
    if (piece.at !== begun.bytes || isOther) throw other();
    begun.pieces.push(piece);
    begun.bytes += piece.bytes.length;
    this.part = begun;
    if (begun.bytes < piece.size) return null;
    this.part = null;
    const data = Buffer.concat(begun.pieces.map(({ bytes }) => bytes));
    if (gitHash(data, piece.type) !== oid) throw other();
    return { oid, type: piece.type, data };
  }
}

const other = (): TownError =>
  new TownError('bad-object', 'What came is not the part of the state that was asked for.');
