/**
 * Links of the kernel's own to a broker in a network namespace, one for each node, that lose what a proxy can only hold back: TCP
 * finds out by itself what has become of it. Each is a pair of veth, of which one end is here and the other in the namespace.
 * Needs root and iproute2; what goes with the process that holds the namespace is gone however the test ends.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { promisify } from 'node:util';
import { eventually } from './eventually.js';
import type { Direction } from './tcp-proxy.js';
import type { BrokerPlace } from './test-broker.js';

const run = promisify(execFile);
/** Nobody's address: what is sent there is taken by nobody. */
const NOBODY = '02:00:00:00:00:01';
const LINKS_MAX = 8;
/** Networks of four addresses from 198.18.0.0/15, which is set aside for tests of networks: eight for each process. */
const PLACES = 4_096;

interface Link {
  readonly here: { readonly device: string; readonly address: string };
  readonly there: { readonly device: string; readonly address: string };
}

const addressOf = (number: number): string =>
  `198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;

function linkOf(index: number): Link {
  const base = ((process.pid % PLACES) * LINKS_MAX + index) * 4;
  const name = `${process.pid.toString(36)}-${index}`;
  return {
    here: { device: `twn${name}`, address: addressOf(base + 1) },
    there: { device: `twb${name}`, address: addressOf(base + 2) },
  };
}

/** In CI the tools have to be there: then their absence is an error. */
function hasTools(): boolean {
  try {
    for (const command of ['ip', 'unshare', 'nsenter'])
      execFileSync(command, [command === 'ip' ? '-V' : '--version'], { stdio: 'pipe' });
    return true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    return false;
  }
}

const netOf = (pid: number | 'self'): string => readlinkSync(`/proc/${pid}/ns/net`);

export class CutLinks {
  readonly #links: readonly Link[];

  private constructor(
    private readonly holder: ChildProcess,
    count: number,
  ) {
    this.#links = Array.from({ length: count }, (_, index) => linkOf(index));
  }

  /** Makes so many links; null where this machine does not allow that, or lacks the tools (not in CI: there it throws). */
  static async open(count: number): Promise<CutLinks | null> {
    if (count > LINKS_MAX) throw new Error(`There are at most ${LINKS_MAX} links.`);
    if (process.getuid?.() !== 0 || !hasTools()) return null;
    // It ends when this process does, whatever becomes of that; the namespace and its links end with it.
    const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
    const links = new CutLinks(holder, count);
    try {
      await eventually('the namespace is there', () => {
        if (holder.exitCode !== null) throw new Error('No namespace can be made.');
        return holder.pid !== undefined && netOf(holder.pid) !== netOf('self');
      });
      await links.#make();
      return links;
    } catch {
      await links.close();
      return null;
    }
  }

  async #make(): Promise<void> {
    await this.#there('ip', 'link', 'set', 'lo', 'up');
    for (const { here, there } of this.#links) {
      const peer = ['peer', 'name', there.device, 'netns', String(this.holder.pid)];
      await run('ip', ['link', 'add', here.device, 'type', 'veth', ...peer]);
      await run('ip', ['address', 'add', `${here.address}/30`, 'dev', here.device]);
      await run('ip', ['link', 'set', here.device, 'up']);
      await this.#there('ip', 'address', 'add', `${there.address}/30`, 'dev', there.device);
      await this.#there('ip', 'link', 'set', there.device, 'up');
    }
  }

  /** Where the broker is to run. */
  get place(): BrokerPlace {
    return { host: '0.0.0.0', inside: this.#inside, reachedAt: this.hostOf(0) };
  }

  /** Where the broker is, by a link. */
  hostOf(index: number): string {
    return this.#link(index).there.address;
  }

  /** The cable is pulled out at the broker's end: nothing passes, and no side is told. */
  async pull(index: number): Promise<void> {
    await this.#there('ip', 'link', 'set', this.#link(index).there.device, 'down');
  }

  /** What is sent in one direction arrives nowhere. */
  async mute(index: number, direction: Direction): Promise<void> {
    const { here, there } = this.#link(index);
    const neighbour = (address: string, device: string): string[] => [
      'neighbour',
      'replace',
      address,
      'lladdr',
      NOBODY,
      'dev',
      device,
      'nud',
      'permanent',
    ];
    if (direction === 'up') await run('ip', neighbour(there.address, here.device));
    else await this.#there('ip', ...neighbour(here.address, there.device));
  }

  /** Takes back what was pulled and muted; a loss stays. */
  async heal(index: number): Promise<void> {
    const { here, there } = this.#link(index);
    const gone = () => undefined;
    await run('ip', ['neighbour', 'delete', there.address, 'dev', here.device]).catch(gone);
    await this.#there('ip', 'neighbour', 'delete', here.address, 'dev', there.device).catch(gone);
    await this.#there('ip', 'link', 'set', there.device, 'up');
  }

  /**
   * Loses so many packets of a hundred on every link in each direction, and where the kernel can, delays the others.
   * @returns by what; null where this machine can do neither
   */
  async lose(percent: number): Promise<string | null> {
    const netem = ['netem', 'loss', `${percent}%`, 'delay', '30ms', '20ms'];
    try {
      for (const { here, there } of this.#links) {
        await run('tc', ['qdisc', 'replace', 'dev', here.device, 'root', ...netem]);
        await this.#there('tc', 'qdisc', 'replace', 'dev', there.device, 'root', ...netem);
      }
      return 'tc netem';
    } catch {
      // Not every kernel has it.
    }
    try {
      // In the namespace alone: the rules of this machine stay as they are.
      const some = ['-m', 'statistic', '--mode', 'random', '--probability', String(percent / 100)];
      for (const chain of ['INPUT', 'OUTPUT'])
        await this.#there('iptables', '-w', '-A', chain, ...some, '-j', 'DROP');
      return 'iptables';
    } catch {
      return null;
    }
  }

  async close(): Promise<void> {
    const { holder } = this;
    if (holder.pid === undefined || holder.exitCode !== null || holder.signalCode !== null) return;
    const ended = once(holder, 'exit');
    for (const { here } of this.#links)
      await run('ip', ['link', 'delete', here.device]).catch(() => undefined);
    holder.kill('SIGKILL');
    await ended;
  }

  get #inside(): readonly string[] {
    return ['nsenter', '--target', String(this.holder.pid), '--net'];
  }

  async #there(...words: readonly string[]): Promise<void> {
    const [command, ...rest] = [...this.#inside, ...words];
    await run(command as string, rest);
  }

  #link(index: number): Link {
    const link = this.#links[index];
    if (!link) throw new Error(`There is no link ${index}.`);
    return link;
  }
}
