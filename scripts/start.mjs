#!/usr/bin/env node
/** `npm start`: installs and builds what changed, then runs the daemon in the foreground. */
import { runProgram } from './steps.mjs';

const help = `npm start -- [options]     runs a town's node in the foreground (Ctrl-C stops it)

  --data DIR          the town's folder (default .data)
  --port N            panel and API (default 4870)
  --mqtt-port N       the embedded MQTT broker (default 1883)
  --town-name NAME    for a new town: its name
  --preset NAME       for a new town: makerspace (default)
  --broker URL        meet the other nodes at this MQTT broker, and run none
  --driver KIND       where contracts run: container or process (default: container if an engine answers)
  --gate KIND         spawn (default) or external: the gate is a service of its own
  --json              tells in JSON lines what happens
  --help              this text

The first start installs, builds, makes the town and prints a one-time setup link.
`;

await runProgram(help, ['daemon', 'main.js']);
