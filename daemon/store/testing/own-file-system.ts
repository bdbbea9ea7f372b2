/**
 * A small ext4 of a test's own on a loop device, whose power can be cut: what was not flushed to the device by then is gone
 * (FS_IOC_SHUTDOWN without a flush of the journal). Needs root, loop devices, mkfs.ext4 and Python 3.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const size = '256M';
/** How long a process that is gone, or a container that starts, may keep the disk busy. */
const busyMsMax = 60_000;

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' });

function hasTools(): boolean {
  try {
    run('python3', '-c', '');
    run('mkfs.ext4', '-V');
    return true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    return false;
  }
}

const cut =
  'import fcntl,os,struct,sys; fd=os.open(sys.argv[1], os.O_RDONLY); print("ready", flush=True); sys.stdin.read(); ' +
  'fcntl.ioctl(fd, 0x8004587d, struct.pack("I", 2))';

/** A switch that is under the finger: `off` cuts within a millisecond, and resolves when the power is gone. */
export interface PowerSwitch {
  off(): Promise<void>;
}

export class OwnFileSystem {
  private constructor(
    private readonly base: string,
    readonly mount: string,
    private readonly options: string,
  ) {}

  /**
   * Makes and mounts it; null where this machine does not allow that, or lacks the tools (in CI it may not: then it throws).
   * @param data how ext4 orders data and journal: `ordered` (its default), `writeback` or `journal`
   */
  static make(data = 'ordered'): OwnFileSystem | null {
    if (!hasTools()) return null;
    const base = mkdtempSync(join(tmpdir(), 'town-power-'));
    const disk = new OwnFileSystem(base, join(base, 'mount'), `loop,data=${data}`);
    try {
      mkdirSync(disk.mount);
      run('truncate', '-s', size, disk.image);
      run('mkfs.ext4', '-q', '-F', disk.image);
      run('mount', '-o', disk.options, disk.image, disk.mount);
      return disk;
    } catch {
      rmSync(base, { recursive: true, force: true });
      return null;
    }
  }

  private get image(): string {
    return join(this.base, 'image');
  }

  async powerSwitch(): Promise<PowerSwitch> {
    const python = spawn('python3', ['-c', cut, this.mount], { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = new Promise<number | null>((resolve) => python.on('close', resolve));
    await new Promise((resolve) => python.stdout.once('data', resolve));
    return {
      async off() {
        python.stdin.end();
        const code = await closed;
        if (code !== 0) throw new Error(`The power was not cut: the switch ended with ${code}.`);
      },
    };
  }

  /** The power is back: what is on the device is all there is. Nobody may have files open there. */
  async again(): Promise<void> {
    for (const end = Date.now() + busyMsMax; ; await sleep(50)) {
      await this.unmount();
      run('mount', '-o', this.options, this.image, this.mount);
      if (this.isOn()) return;
      if (Date.now() > end) throw new Error('The power does not come back: something holds the disk.');
    }
  }

  /** A container that begins meanwhile takes a copy of all mounts along: until it lets go, the next mount is the one without power. */
  private isOn(): boolean {
    try {
      closeSync(openSync(join(this.mount, '.power'), 'a'));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
      return false;
    }
  }

  async remove(): Promise<void> {
    await this.unmount();
    rmSync(this.base, { recursive: true, force: true });
  }

  private async unmount(): Promise<void> {
    for (const end = Date.now() + busyMsMax; ; await sleep(20)) {
      try {
        run('umount', this.mount);
        return;
      } catch (error) {
        if (!String(error).includes('busy') || Date.now() > end) throw error;
      }
    }
  }
}
