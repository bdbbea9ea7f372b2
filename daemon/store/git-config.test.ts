import t from 'tap';
import { configText, isConfigSound } from './git-config.js';

const made = configText('', '/home/town/allowed_signers');

t.test(
  'the configuration is sound as it is made, moved along with the folder, and with what a person added',
  (t) => {
    t.ok(isConfigSound(made));
    t.ok(isConfigSound(configText(made, '/elsewhere "so"/allowed_signers')));
    t.ok(
      isConfigSound(`${made}[remote "mirror"]\n\turl = https://example.org/town.git\n\tmirror\n# mine\n\n`),
    );
    t.ok(isConfigSound(made.replace('[gc]\n', '[gc]\n\tpruneExpire = never\n')), 'as git config writes it');
    t.end();
  },
);

t.test('every flipped bit of it is found, but in the path, which the next start writes anew', (t) => {
  const bytes = Buffer.from(made);
  const path = made.indexOf('/home');
  const missed: string[] = [];
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const at = bit >> 3;
    if (at >= path && at < made.lastIndexOf('allowed_signers')) continue;
    const other = Buffer.from(bytes);
    other[at] = other[at]! ^ (1 << (bit & 7));
    const text = other.toString('utf8');
    if (isConfigSound(text)) missed.push(JSON.stringify(text.slice(Math.max(0, at - 20), at + 20)));
  }
  t.same(missed, []);
  t.end();
});

t.test('what git would not take, or takes otherwise, is not sound', (t) => {
  for (const [what, text] of [
    ['nothing', ''],
    ['cut off', made.slice(0, -1)],
    ['a second value', `${made}[core]\n\tbare = false\n`],
    ['another section', made.replace('[gc]', '[gb]')],
    ['a line of no section', `key = 1\n${made}`],
    ['no line of a configuration', `${made}[gpg "ssh]\n`],
  ] as const)
    t.notOk(isConfigSound(text), what);
  t.end();
});
