import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { notifyReady, notifyStopping, startWatchdog, watchdogMs } from './sd-notify.js';

const units = fileURLToPath(new URL('../../../firmware-configs/systemd/', import.meta.url));
const there = (tool: string, ...args: string[]) => spawnSync(tool, args, { stdio: 'ignore' }).status === 0;
const missing = (tool: string, ...args: string[]) =>
  there(tool, ...args) || process.env['CI'] === 'true' ? false : `${tool} is not installed`;

/** A socket as systemd's own, in Python because Node has none of this kind; prints each datagram as a line of JSON. */
const listener = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print(json.dumps("bound"), flush=True)
while True:
    data, fds, flags, address = socket.recv_fds(s, 4096, 8)
    for fd in fds: os.close(fd)
    print(json.dumps(data.decode()), flush=True)
`;

t.test(
  'systemd hears that the daemon is ready, alive and stopping',
  { skip: missing('systemd-notify', '--version') || missing('python3', '--version') },
  async (t) => {
    // A socket's path must be short.
    const folder = mkdtempSync(join(tmpdir(), 'notify-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'notify');
    const child = spawn('python3', ['-c', listener, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill());
    const datagrams: string[] = [];
    let wake = () => {};
    createInterface(child.stdout).on('line', (line) => {
      datagrams.push(JSON.parse(line) as string);
      wake();
    });
    const heard = async (what: string) => {
      while (!datagrams.some((datagram) => datagram.split('\n').includes(what)))
        await new Promise<void>((resolve) => (wake = resolve));
    };
    await heard('bound');
    const env = { PATH: process.env['PATH'], NOTIFY_SOCKET: path, WATCHDOG_USEC: '100000' };
    t.equal(await notifyReady('Serving\n3 doors', env), true);
    await heard('READY=1');
    await heard('STATUS=Serving 3 doors');
    await heard(`MAINPID=${process.pid}`);
    let alive = true;
    const stop = startWatchdog(() => alive, env);
    await heard('WATCHDOG=1');
    alive = false;
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = datagrams.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.equal(datagrams.length, before, 'a daemon that is not well says nothing');
    stop();
    t.equal(await notifyStopping(env), true);
    await heard('STOPPING=1');
  },
);

t.test('without systemd nothing is sent and nothing fails', async (t) => {
  t.equal(await notifyReady('x', {}), false);
  t.equal(await notifyStopping({}), false);
  startWatchdog(() => true, {})();
  t.equal(
    await notifyReady('x', { PATH: '/nowhere', NOTIFY_SOCKET: '/nowhere' }),
    false,
    'nor without the command',
  );
  t.equal(watchdogMs({ WATCHDOG_USEC: '60000000' }), 30_000);
  t.equal(
    watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '1' }),
    null,
    'a watchdog of another process',
  );
  t.equal(watchdogMs({ WATCHDOG_USEC: 'soon' }), null);
});

t.test(
  'the units pass systemd-analyze verify',
  { skip: missing('systemd-analyze', '--version') },
  async (t) => {
    const names = ['mergetown.service', 'mergetown-gate.service'];
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', ...names.map((name) => join(units, name))],
      {
        encoding: 'utf8',
      },
    );
    t.equal(status, 0);
    t.notMatch(stderr, /mergetown/, stderr);
    t.match(readFileSync(join(units, names[0]!), 'utf8'), /Type=notify[\s\S]*WatchdogSec=/);
  },
);
