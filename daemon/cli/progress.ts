/** How far a long command is. */

/** A bar on stderr where that is a terminal, else nothing. */
export async function progressBar(): Promise<{
  show(done: number, total: number, what: string): void;
  end(): void;
}> {
  if (!process.stderr.isTTY) return { show: () => undefined, end: () => undefined };
  const { SingleBar } = (await import('cli-progress')).default;
  const bar = new SingleBar({
    format: '{bar} {percentage} %  {value}/{total}  {what}',
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  let started = false;
  return {
    show(done, total, what) {
      if (!started) bar.start(total, done, { what });
      started = true;
      bar.setTotal(total);
      bar.update(done, { what });
    },
    end() {
      if (started) bar.stop();
    },
  };
}
