/** The same promise against a power cut: ext4 drops whatever was not flushed (FS_IOC_SHUTDOWN). Needs root. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Repository } from './repository.js';
import { Store } from './store.js';

const child = fileURLToPath(new URL('./testing/write-until-killed.js', import.meta.url));
const rounds = 3;

t.setTimeout(240_000);

const run = (command: string, ...args: string[]): void => void execFileSync(command, args, { stdio: 'pipe' });

const cut =
  'import fcntl,os,struct,sys; fd=os.open(sys.argv[1], os.O_RDONLY); sys.stdin.read(); ' +
  'fcntl.ioctl(fd, 0x8004587d, struct.pack("I", 2))';

/** A process that cuts the power of a file system as soon as its input ends. */
const powerSwitch = (mount: string) =>
  spawn('python3', ['-c', cut, mount], { stdio: ['pipe', 'ignore', 'ignore'] });

/** A small ext4 of its own on a loop device; null where this machine does not allow it. */
function ownFileSystem(): { mount: string; again(): void; remove(): void } | null {
  const base = mkdtempSync(join(tmpdir(), 'town-power-'));
  const image = join(base, 'image');
  const mount = join(base, 'mount');
  mkdirSync(mount);
  try {
    run('truncate', '-s', '200M', image);
    run('mkfs.ext4', '-q', '-F', image);
    run('mount', '-o', 'loop', image, mount);
    run('python3', '-c', '');
  } catch {
    rmSync(base, { recursive: true, force: true });
    return null;
  }
  return {
    mount,
    again() {
      run('umount', mount);
      run('mount', '-o', 'loop', image, mount);
    },
    remove() {
      run('umount', mount);
      rmSync(base, { recursive: true, force: true });
    },
  };
}

/**
 * Writes until the power goes after `ms`; what was acknowledged until then. What is said in the moment of the cut does not
 * count: a file system that is shut down under a running kernel may still answer an fsync with success.
 */
async function writeUntilCut(folder: string, mount: string, ms: number): Promise<string[][]> {
  const off = powerSwitch(mount);
  const started = spawn(process.execPath, [child, folder], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  let saidBefore = '';
  const isCut = new Promise<void>((resolve) => off.on('close', () => resolve()));
  started.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (said === '')
      setTimeout(() => {
        saidBefore = said;
        off.stdin.end();
      }, ms);
    said += text;
  });
  void isCut.then(() => setTimeout(() => started.kill('SIGKILL'), 200));
  // Both have files open there: the disk can be taken out when both are gone.
  await Promise.all([new Promise((resolve) => started.on('close', resolve)), isCut]);
  const lines = saidBefore.split('\n').slice(0, -1);
  return lines.map((line) => line.split(' '));
}

const disk = ownFileSystem();
t.test(
  'a power cut loses nothing acknowledged and leaves a clean repository',
  { skip: disk === null && 'needs root, loop devices and mkfs.ext4', timeout: 120_000 },
  async (t) => {
    const { mount, again } = disk!;
    t.teardown(() => disk!.remove());
    const folder = join(mount, 'town');
    const gitdir = join(folder, 'ledger.git');
    const fsck = (): void => run('git', '-C', gitdir, 'fsck', '--strict', '--full');
    const acknowledged: string[][] = [];
    for (let round = 0; round < rounds; round += 1) {
      acknowledged.push(...(await writeUntilCut(folder, mount, 300 + Math.random() * 1_000)));
      again();
      fsck();
      const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
      const repository = await Repository.open(gitdir, store);
      const here: Record<string, (id: string) => unknown> = {
        entry: (id) => store.entry(id),
        block: (id) => store.block(id),
        merge: (id) => store.mergeById(id),
      };
      const lost = acknowledged.filter(([what, id]) => here[what!]?.(id!) === null);
      t.same(lost, [], `round ${round}: ${acknowledged.length} acknowledged, none lost`);
      fsck();
      await repository.close();
      await store.close();
    }
  },
);
