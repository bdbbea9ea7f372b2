/**
 * Contracts in containers: no network, a root file system that cannot be written, no capabilities, no new privileges,
 * not root, and bounds on memory, processor and processes. Images are built here from the dapp's Dockerfile and the base image.
 */
import { PassThrough, Writable, type Duplex } from 'node:stream';
import { pack } from 'tar-stream';
import { randomBytes } from 'node:crypto';
import { TownError } from '../ledger/ids.js';
import { AttachedStream } from './attached-stream.js';
import { ensureBaseImage } from './base-image.js';
import type { DriverOptions } from './driver.js';
import { finished, hasImage, within, type Engine } from './engine.js';
import { heapMiB } from './manifest.js';
import { readPackageFiles, type DappPackage } from './package.js';
import type { LaunchContract, RunningContract } from './running-contract.js';
import { SessionDriver } from './session-driver.js';

const LABEL_TOWN = 'org.mergetown.town';
const LABEL_NODE = 'org.mergetown.node';
const LABEL_DAPP = 'org.mergetown.dapp';
const CALL_MS = 30_000;
const BUILD_MS = 180_000;

export class ContainerDriver extends SessionDriver {
  readonly kind = 'container';
  readonly isolated = true;
  private readonly images = new Map<string, string>();
  private swept = false;
  private processors = 1;

  constructor(
    options: DriverOptions,
    private readonly engine: Engine,
  ) {
    super(options);
  }

  private get labels(): Record<string, string> {
    return { [LABEL_TOWN]: this.options.town, [LABEL_NODE]: this.options.node };
  }

  private get filters(): string {
    return JSON.stringify({ label: Object.entries(this.labels).map(([name, value]) => `${name}=${value}`) });
  }

  protected async prepare(packages: readonly DappPackage[]): Promise<void> {
    const { engine } = this;
    const log = (text: string): void => this.options.log({ level: 'info', text });
    if (!this.swept) {
      // What a killed daemon of this very node left behind.
      const left = await this.removeContainers();
      if (left > 0) log(`Removed ${left} containers of an earlier run.`);
      await this.learnLimits();
      this.swept = true;
    }
    const base = await ensureBaseImage(engine, () => log('Making the base image of the dapps, once.'));
    for (const dapp of packages) this.images.set(dapp.digest, await this.ensureImage(dapp, base));
    await this.removeOldImages();
  }

  protected async cleanUp(): Promise<void> {
    await this.removeContainers();
  }

  private async removeContainers(): Promise<number> {
    const found = await within(
      CALL_MS,
      'list containers',
      this.engine.listContainers({ all: true, filters: this.filters }),
    );
    for (const { Id } of found) await remove(this.engine, Id);
    return found.length;
  }

  /** Kernels without the memory controller (a Raspberry Pi's, by default) drop the limit silently. */
  private async learnLimits(): Promise<void> {
    const info = (await within(CALL_MS, 'tell about itself', this.engine.info())) as Record<string, unknown>;
    // Asking for more processors than there are is an error to the engine.
    this.processors = Number(info['NCPU']) || 1;
    const lacking = [
      ['MemoryLimit', 'memory'],
      ['CpuCfsQuota', 'processor'],
      ['PidsLimit', 'processes'],
    ].filter(([name]) => info[name as string] === false);
    if (lacking.length > 0)
      this.options.log({
        level: 'warn',
        text: `This kernel cannot limit the dapps' ${lacking.map(([, what]) => what).join(', ')} (on a Raspberry Pi: add cgroup_enable=memory to cmdline.txt).`,
      });
  }

  private async ensureImage(dapp: DappPackage, base: string): Promise<string> {
    const { name } = dapp.manifest;
    const tag = `mergetown/${name}:${dapp.digest.slice(0, 24)}-${base.slice(base.indexOf(':') + 1)}`;
    if (await hasImage(this.engine, tag)) return tag;
    this.options.log({ level: 'info', dapp: name, text: 'Building its image, once.' });
    const files = await readPackageFiles(dapp.folder);
    if (!files.has('Dockerfile'))
      throw new TownError(
        'no-dockerfile',
        `Dapp "${name}" has no Dockerfile.`,
        'Add one, or start with --driver process.',
      );
    const context = pack();
    for (const [path, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
      context.entry({ name: path, mode: 0o755, mtime: new Date(0) }, Buffer.from(bytes));
    context.finalize();
    const build = async (): Promise<void> => {
      const progress = await this.engine.buildImage(context as unknown as NodeJS.ReadableStream, {
        t: tag,
        buildargs: { BASE: base },
        labels: { ...this.labels, [LABEL_DAPP]: name },
        networkmode: 'none',
        rm: true,
        forcerm: true,
      });
      await finished(this.engine, progress, tag);
    };
    await within(BUILD_MS, `build the image of "${name}"`, build());
    return tag;
  }

  /** Images that this node had built and no longer uses; one that a container still uses stays. */
  private async removeOldImages(): Promise<void> {
    const keep = new Set(this.images.values());
    const found = await within(CALL_MS, 'list images', this.engine.listImages({ filters: this.filters }));
    for (const { Id, RepoTags } of found) {
      if ((RepoTags ?? []).some((tag) => keep.has(tag))) continue;
      await within(CALL_MS, 'remove an image', this.engine.getImage(Id).remove()).catch(() => undefined);
    }
  }

  protected launcher(dapp: DappPackage): LaunchContract {
    const { name } = dapp.manifest;
    return async () => {
      try {
        return await this.launch(dapp).catch(async (error: { statusCode?: number }) => {
          // The image is gone (somebody cleaned up): it is made again.
          if (error.statusCode !== 404) throw error;
          await this.prepare([dapp]);
          return this.launch(dapp);
        });
      } catch (error) {
        if (error instanceof TownError) throw error;
        throw new TownError(
          'contract-not-started',
          `Dapp "${name}": its container does not start (${(error as Error).message}).`,
          'Look at the engine with: docker info.',
        );
      }
    };
  }

  private async launch(dapp: DappPackage): Promise<RunningContract> {
    const { name, contract, limits } = dapp.manifest;
    const { town, node } = this.options;
    const bytes = limits.memoryMiB * 1024 * 1024;
    const container = await within(
      CALL_MS,
      'make a container',
      this.engine.createContainer({
        name: `mergetown-${town.slice(0, 8)}-${node.slice(0, 8)}-${name}-${randomBytes(4).toString('hex')}`,
        Image: this.images.get(dapp.digest) as string,
        Cmd: [...contract.command],
        Entrypoint: [],
        WorkingDir: '/dapp',
        User: '65534:65534',
        Env: ['LANG=C', 'LC_ALL=C', 'TZ=UTC', `NODE_OPTIONS=--max-old-space-size=${heapMiB(limits)}`],
        Labels: { ...this.labels, [LABEL_DAPP]: name },
        NetworkDisabled: true,
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        OpenStdin: true,
        // Its stdin closes with the daemon's connection: a contract ends when the daemon is killed.
        StdinOnce: true,
        Tty: false,
        HostConfig: {
          NetworkMode: 'none',
          ReadonlyRootfs: true,
          CapDrop: ['ALL'],
          SecurityOpt: ['no-new-privileges'],
          Memory: bytes,
          MemorySwap: bytes,
          NanoCpus: Math.round(Math.min(limits.cpus, this.processors) * 1e9),
          PidsLimit: limits.pids,
          IpcMode: 'none',
          Ulimits: [{ Name: 'nofile', Soft: 256, Hard: 256 }],
          LogConfig: { Type: 'none', Config: {} },
          RestartPolicy: { Name: 'no' },
        },
      }),
    );
    try {
      return await attachAndStart(this.engine, container.id);
    } catch (error) {
      await remove(this.engine, container.id);
      throw error;
    }
  }
}

async function remove(engine: Engine, id: string): Promise<void> {
  try {
    await within(CALL_MS, 'remove a container', engine.getContainer(id).remove({ force: true, v: true }));
  } catch (error) {
    const { statusCode } = error as { statusCode?: number };
    // 404: gone already; 409: on its way out.
    if (statusCode !== 404 && statusCode !== 409) throw error;
  }
}

async function attachAndStart(engine: Engine, id: string): Promise<RunningContract> {
  const container = engine.getContainer(id);
  const options = { stream: true, hijack: true, stdin: true, stdout: true, stderr: true };
  const socket = (await within(CALL_MS, 'attach to a container', container.attach(options))) as Duplex;
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const frames = new AttachedStream(
    (part) => void stdout.write(part),
    (part) => void stderr.write(part),
  );
  const closed = new Promise<void>((resolve) => {
    for (const event of ['end', 'close', 'error']) socket.once(event, () => resolve());
  });
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => frames.push(chunk));
  let removed: Promise<void> | null = null;
  const gone = (): Promise<void> => (removed ??= remove(engine, id));
  const ended = closed.then(async () => {
    const why = await endOf(engine, id);
    await gone().catch(() => undefined);
    return why;
  });
  await within(CALL_MS, 'start a container', container.start());
  const stdin = new Writable({
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
  });
  return {
    stdin,
    stdout,
    stderr,
    ended,
    async kill() {
      await gone();
      socket.destroy();
      await ended;
    },
  };
}

/** A few words on how it ended. The engine notes it a moment after the stream has closed. */
async function endOf(engine: Engine, id: string): Promise<string> {
  try {
    const container = engine.getContainer(id);
    await within(2000, 'end a container', container.wait()).catch(() => undefined);
    const { State } = await within(5000, 'look at a container', container.inspect());
    if (State.OOMKilled) return 'out of memory';
    return State.Running ? 'it closed its output' : `exit code ${State.ExitCode}`;
  } catch {
    return 'its container is gone';
  }
}
