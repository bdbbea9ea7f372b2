/** The gate on GPIO lines of a real kernel, in a small machine that simulates what is wired to them. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

// The first run builds what it needs, and the machine has no hardware virtualization everywhere.
t.setTimeout(700_000);

const gpioVm = fileURLToPath(new URL('../../../../shared/tools/gpio-vm', import.meta.url));
const repository = fileURLToPath(new URL('../../../', import.meta.url));
const noVm = existsSync(gpioVm) ? false : 'the machine with GPIO lines is not here';

t.test(
  'on real GPIO lines a Wiegand badge moves the strike, a kill -9 and a SIGTERM turn it off',
  { skip: noVm, timeout: 660_000 },
  async (t) => {
    const fixture = fileURLToPath(new URL('./real-lines.fixture.js', import.meta.url));
    // A frame of facility 123, card 4567 (H10301), and the same with one bit flipped.
    const frames = ['10111101100010001110101110', '10111101100010001110101111'];
    // A reader's bits come in real time: the machine goes before other work where that is allowed.
    const vm = spawn(
      'nice',
      [
        ...['-n', '-15', gpioVm, '--share', repository, '--timeout', '600'],
        ...['--', process.execPath, fixture, ...frames],
      ],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        // Kernels since 6.6 count lines from 512.
        env: { ...process.env, GPIO_VM_BASE: '512' },
      },
    );
    t.teardown(() => vm.kill());
    let said = '';
    vm.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const code = await new Promise((resolve) => vm.once('close', resolve));
    if (code === 125 && process.env['CI'] !== 'true') {
      t.comment('The machine could not be made here: this is not tested.');
      return;
    }
    t.equal(code, 0);
    const seen = JSON.parse(said) as Record<string, unknown>;
    t.comment(said);
    t.same(seen['error'], undefined);
    t.same(seen['atStart'], ['0', '0'], 'the strikes are off at the start');
    t.same([seen['beforeKill'], seen['beforeTerm']], ['1', '1'], 'an open strike is on');
    t.type(
      seen['offAfterKillMs'],
      'number',
      'and off once the gate was killed, long before its minute is over',
    );
    t.same(
      [seen['deliveredWhileAway'], seen['deliveredLater']],
      [0, 1],
      'without a daemon the badge opens too',
    );
    t.equal(seen['unique'], true, 'and its record comes later, once');
    for (const what of [
      'tap granted front',
      'tap bad-read front',
      'exit exit-button front',
      'open remote-open back',
    ])
      t.ok((seen['records'] as string[]).includes(what), what);
  },
);
