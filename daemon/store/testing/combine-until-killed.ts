/** A child process that combines all packs of a repository and is killed at its Nth call on the disk. Arguments: repository, N. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { combinePacks } from '../pack-combine.js';
import { packDisk, type PackDisk } from '../pack-disk.js';
import { readSuperseded, removeSuperseded } from '../superseded.js';

const gitdir = process.argv[2]!;
const nth = Number(process.argv[3]);
let calls = 0;

const here = (): boolean => (calls += 1) === nth;
const die = (): void => void process.kill(process.pid, 'SIGKILL');
const killing = <A extends unknown[], R>(call: (...args: A) => R): ((...args: A) => R) => {
  return (...args) => {
    if (here()) die();
    return call(...args);
  };
};
const disk: PackDisk = {
  ...packDisk,
  open: killing(packDisk.open),
  write(file, bytes) {
    if (here()) {
      packDisk.write(file, bytes.subarray(0, bytes.length >> 1));
      die();
    }
    packDisk.write(file, bytes);
  },
  sync: killing(packDisk.sync),
  rename: killing(packDisk.rename),
  unlink: killing(packDisk.unlink),
  syncFolder: killing(packDisk.syncFolder),
};

const superseded = new Set(readSuperseded(gitdir, disk).map(({ pack }) => pack));
const packs = readdirSync(join(gitdir, 'objects', 'pack'))
  .map((name) => /^pack-([0-9a-f]{40})\.idx$/.exec(name)?.[1])
  .filter((name) => name !== undefined)
  .filter((name) => !superseded.has(name));
if (packs.length > 1) combinePacks({ gitdir, packs }, disk, () => undefined);
removeSuperseded(gitdir, disk);
