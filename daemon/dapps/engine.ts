/** The container engine, through dockerode. It is imported only here and only when asked for: it weighs 28 MB. */
import type Dockerode from 'dockerode';
import { TownError } from '../ledger/ids.js';

export type Engine = Dockerode;

/** Waits at most `ms` for the engine. @throws TownError `engine-slow` */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new TownError(
            'engine-slow',
            `The container engine did not ${what} within ${ms / 1000} s.`,
            'Look at it with: docker info.',
          ),
        ),
      ms,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @returns the engine that `DOCKER_HOST` names, else the one at /var/run/docker.sock
 * @throws TownError `no-engine` where none answers in 2 s, or this user may not use it
 */
export async function findEngine(): Promise<Engine> {
  const { default: Docker } = await import('dockerode');
  try {
    const engine = process.env['DOCKER_HOST']
      ? new Docker()
      : new Docker({ socketPath: '/var/run/docker.sock' });
    await within(2000, 'answer', engine.ping());
    return engine;
  } catch (error) {
    if ((error as { code?: string }).code === 'EACCES')
      throw new TownError(
        'no-engine',
        'There is a container engine, but this user may not use it.',
        'Add the user to the group docker and start again.',
      );
    throw new TownError(
      'no-engine',
      'No container engine answers at DOCKER_HOST or /var/run/docker.sock.',
      'Install and start one (apt install docker.io) and start again.',
    );
  }
}

/** Reads the engine's progress lines to the end. @throws TownError `image-not-built` with what the engine says */
export async function finished(engine: Engine, progress: NodeJS.ReadableStream, what: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    engine.modem.followProgress(progress, (error: Error | null, lines: unknown[] | null) => {
      const told = (lines ?? []).find(
        (line): line is { error: string } => typeof line === 'object' && line !== null && 'error' in line,
      );
      const why = error?.message ?? told?.error;
      if (why === undefined) resolve();
      else
        reject(
          new TownError(
            'image-not-built',
            `The container image ${what} could not be made: ${String(why).slice(0, 500)}`,
          ),
        );
    });
  });
}

/** Whether the engine has this image. */
export async function hasImage(engine: Engine, tag: string): Promise<boolean> {
  try {
    await within(10_000, 'look for an image', engine.getImage(tag).inspect());
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}
