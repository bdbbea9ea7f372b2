/** Holds the shape of the code: which module may import which. Reads the sources, not the build. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = repositoryRoot(dirname(fileURLToPath(import.meta.url)));

/** What each module may import, by whole modules (`daemon/ledger`) or single files. Itself is always allowed. */
const allowed: { readonly [module: string]: readonly string[] } = {
  'daemon/ledger': [],
  'daemon/consensus': ['daemon/ledger'],
  'daemon/store': ['daemon/ledger'],
  'daemon/sync': ['daemon/ledger', 'daemon/store'],
  'daemon/dapps': ['daemon/ledger'],
  'daemon/gate': ['daemon/ledger/ids.ts'],
  'daemon/node': [
    'daemon/ledger',
    'daemon/consensus',
    'daemon/store',
    'daemon/sync',
    'daemon/dapps',
    'daemon/gate',
  ],
  // Whole towns of real nodes in simulated time; nothing of the program imports it.
  'daemon/simulation': [
    'daemon/ledger',
    'daemon/consensus',
    'daemon/store',
    'daemon/sync',
    'daemon/dapps',
    'daemon/node',
  ],
  // The words of errors and ids (ids.ts) are common to all but the panel.
  'daemon/api': ['daemon/node', 'daemon/ledger/ids.ts'],
  'daemon/panel': [],
  'daemon/cli': ['daemon/node', 'daemon/ledger/ids.ts'],
  // Dapps know the protocol they speak and nothing else of the daemon.
  dapps: ['daemon/dapps/protocol.ts', 'daemon/ledger/ids.ts'],
};

interface Import {
  readonly from: string;
  readonly line: number;
  readonly target: string;
  readonly typeOnly: boolean;
}

t.test('modules import only downward', async (t) => {
  const wrong: string[] = [];
  for (const file of sources()) {
    const module = moduleOf(file);
    const may = allowed[module];
    if (!may) continue;
    for (const found of importsOf(file)) {
      if (!found.target.startsWith('.')) continue;
      const target = resolve(file, found.target);
      if (moduleOf(target) === module || may.includes(moduleOf(target)) || may.includes(target)) continue;
      // The panel may share the words of the API, never its code.
      if (
        module === 'daemon/panel' &&
        found.typeOnly &&
        /^daemon\/(node\/use-cases|gate\/shapes|ledger\/ids)\.ts$/.test(target)
      )
        continue;
      wrong.push(
        `${file}:${found.line} imports ${target}; ${module} may import ${may.join(', ') || 'nothing of ours'}`,
      );
    }
  }
  t.same(wrong, []);
});

t.test('what serves tests alone is imported by tests alone', async (t) => {
  const testing = /(^|\/)testing\/|^daemon\/simulation\/|\.fixture\.tsx?$/;
  const wrong = sources()
    .filter((file) => !testing.test(file))
    .flatMap((file) =>
      importsOf(file)
        .filter((found) => found.target.startsWith('.') && testing.test(resolve(file, found.target)))
        .map((found) => `${file}:${found.line} imports ${found.target}`),
    );
  t.same(wrong, []);
});

t.test('nobody imports the program itself', async (t) => {
  const wrong = sources().flatMap((file) =>
    importsOf(file)
      .filter((found) => found.target.startsWith('.') && resolve(file, found.target) === 'daemon/main.ts')
      .map((found) => `${file}:${found.line}`),
  );
  t.same(wrong, []);
});

t.test('every folder of the daemon has its place in the order', async (t) => {
  const folders = readdirSync(join(root, 'daemon'), { withFileTypes: true })
    .filter(
      (entry) =>
        entry.isDirectory() && entry.name !== 'testing' && sourcesIn(`daemon/${entry.name}`).length > 0,
    )
    .map((entry) => `daemon/${entry.name}`);
  t.same(
    folders.filter((folder) => !(folder in allowed)),
    [],
  );
});

t.test('the ledger and the consensus are pure: no files, no network, no processes, no timers', async (t) => {
  const impure =
    /^(node:)?(fs|net|http|https|http2|tls|dgram|dns|child_process|worker_threads|cluster|os|timers)(\/|$)/;
  const wrong: string[] = [];
  for (const file of sources()) {
    if (!/^daemon\/(ledger|consensus)$/.test(moduleOf(file))) continue;
    for (const found of importsOf(file)) {
      if (impure.test(found.target)) wrong.push(`${file}:${found.line} imports ${found.target}`);
    }
    const text = readFileSync(join(root, file), 'utf8');
    const call = /\b(Date\.now|Math\.random|setTimeout|setInterval|randomBytes|randomUUID)\s*\(/.exec(text);
    if (call) wrong.push(`${file} calls ${call[1]}`);
  }
  t.same(wrong, []);
});

t.test('the gate stands on Node and its lines alone: it must start when nothing else does', async (t) => {
  const may = new Set([...builtinModules, 'onoff']);
  const wrong = sources()
    .filter((file) => moduleOf(file) === 'daemon/gate')
    .flatMap((file) =>
      importsOf(file)
        .filter((found) => !found.target.startsWith('.') && !found.typeOnly)
        .filter((found) => !may.has(found.target.replace(/^node:/, '')))
        .map((found) => `${file}:${found.line} imports ${found.target}`),
    );
  t.same(wrong, []);
});

/** Sources of the program and the dapps, tests left out: those may look anywhere. */
function sources(): string[] {
  return [...sourcesIn('daemon'), ...sourcesIn('dapps')];
}

function sourcesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return sourcesIn(path);
    return /\.tsx?$/.test(entry.name) && !/\.test\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

/** `daemon/ledger/ids.ts` → `daemon/ledger`; `dapps/gigs/gigs.ts` → `dapps`; `daemon/main.ts` → itself. */
function moduleOf(file: string): string {
  const parts = file.split('/');
  if (parts[0] === 'dapps') return 'dapps';
  return parts.slice(0, 2).join('/');
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, (comment) =>
    comment.replace(/[^\n]/g, ' '),
  );
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?(?:[\w*\s{},$]+?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;
  return [...text.matchAll(pattern)].map((match) => ({
    from: file,
    line: text.slice(0, match.index + 1).split('\n').length,
    target: match[2] ?? match[3] ?? '',
    typeOnly: match[1] !== undefined,
  }));
}

/** The source file behind an import's `.js`. */
function resolve(file: string, target: string): string {
  const path = normalize(join(dirname(file), target))
    .split(sep)
    .join('/');
  const source = [path.replace(/\.js$/, '.ts'), path.replace(/\.js$/, '.tsx'), path].find((candidate) =>
    existsSync(join(root, candidate)),
  );
  return source ?? path;
}

function repositoryRoot(from: string): string {
  let folder = from;
  while (!existsSync(join(folder, 'package-lock.json'))) {
    if (relative(dirname(folder), folder) === '') throw new Error(`No repository above ${from}`);
    folder = dirname(folder);
  }
  return folder;
}
