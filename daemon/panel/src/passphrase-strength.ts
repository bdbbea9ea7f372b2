/**
 * A rough, honest hint at how long a passphrase would stand against guessing.
 * It counts words or kinds of characters; it cannot know that a phrase is from a song.
 */
export interface Strength {
  /** 0 too short, 1 weak, 2 fair, 3 good, 4 strong. */
  readonly level: 0 | 1 | 2 | 3 | 4;
  readonly hint: string;
}

/** Shorter ones the panel does not send. */
export const passphraseLengthMin = 10;

const common =
  /password|passwor|passphrase|qwert|asdf|letmein|welcome|abc123|makerspace|mergetown|12345|00000/i;

/** How strong `passphrase` looks. `names`: words about the person that would be guessed first. */
export function strengthOf(passphrase: string, names: readonly string[] = []): Strength {
  const missing = passphraseLengthMin - [...passphrase].length;
  if (missing > 0) {
    return { level: 0, hint: `Too short: ${missing} more ${missing === 1 ? 'character' : 'characters'}.` };
  }
  const bits = bitsOf(withoutNames(passphrase, names));
  if (bits < 36) return { level: 1, hint: 'Easy to guess. Four or five unrelated words are better.' };
  if (bits < 50) return { level: 2, hint: 'Fair. One more word makes it much stronger.' };
  if (bits < 66) return { level: 3, hint: 'Good.' };
  return { level: 4, hint: 'Strong.' };
}

function withoutNames(passphrase: string, names: readonly string[]): string {
  let rest = passphrase.replace(new RegExp(common, 'gi'), '*');
  for (const name of names.flatMap((each) => each.split(/\s+/)).filter((each) => each.length > 2)) {
    rest = rest.replaceAll(new RegExp(name.replace(/[^\p{L}\p{N}]/gu, '.'), 'giu'), '*');
  }
  // A run of one character is worth hardly more than the character.
  return rest.replace(/(.)\1{2,}/gu, '$1$1');
}

function bitsOf(text: string): number {
  const words = new Set(text.toLowerCase().match(/\p{L}{3,}/gu) ?? []);
  const different = new Set(text).size;
  const kinds = [/\p{Ll}/u, /\p{Lu}/u, /\p{N}/u, /[^\p{L}\p{N}\s]/u].filter((kind) => kind.test(text)).length;
  const byWords = words.size * 12.9 + Math.max(0, kinds - 1) * 4;
  const byCharacters = Math.min([...text].length, different * 2) * (2 + kinds * 0.8);
  // Several words are guessed as words; one long run of letters as letters.
  return words.size >= 3 ? Math.min(byWords, byCharacters) : byCharacters;
}
