/**
 * Writes what a Mosquitto broker (2.0 or later) of the town is set up with: TLS by an authority of the town's own, a user for every
 * node of the charter that may say only what is its own to say, and one for those who ask to join. Made anew as often as wanted, and
 * users and rights also by the daemon itself when a node came or went (`refreshUsers`); authority and guest's password stay the same, so invitations go on to hold.
 */
import { generateKeyPairSync, pbkdf2Sync, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join, resolve } from 'node:path';
import type { Charter } from '../ledger/charter.js';
import { bytesOf, hexOf, sha256 } from '../ledger/hash.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import { State } from '../ledger/state.js';
import { makeFolderDurably, writeFileDurably } from '../store/durable-file.js';
import { openForReading } from '../store/database.js';
import { StoreReads } from '../store/reads.js';
import { makeAuthority, makeBrokerCertificate, pemOf } from '../sync/broker-certificate.js';
import { MESSAGE_BYTES_MAX } from '../sync/message.js';
import { BROKER_KEYS, brokerKeysText, readBrokerKeys, type BrokerKeys } from './broker-keys.js';
import { nodePassword } from './broker-login.js';
import { addressOf, GUEST, readConfig, writeConfig, type BrokerConfig } from './config.js';
import { hasTown } from './init-town.js';
import { readNodeKeys, type NodeKeys } from './key-files.js';

export const BROKER_PORT = 8883;
const HOSTS_MAX = 8;

export interface BrokerFilesOptions {
  /** Where the files go; an absolute path stands in the configuration. */
  readonly out: string;
  /** Names and addresses by which nodes reach the broker, the one for invitations first: 1 to 8. */
  readonly hosts: readonly string[];
  readonly port?: number;
  /** Also writes the broker into this node's own config. */
  readonly use?: boolean;
  /** Milliseconds. */
  readonly now: number;
}

export interface BrokerFiles {
  readonly folder: string;
  /** As it stands in invitations: for `--broker`. Holds the guest's password. */
  readonly address: string;
  /** SHA-256 of the authority's certificate. */
  readonly pin: string;
  /** The nodes that may log in; those that publish no X25519 key cannot. */
  readonly nodes: readonly string[];
  readonly without: readonly string[];
}

const keptPath = (folder: string): string => join(folder, 'keys', BROKER_KEYS);

/**
 * @throws TownError `no-town`, `no-keys`, `bad-host`, `bad-broker-keys`
 */
export async function writeBrokerFiles(folder: string, options: BrokerFilesOptions): Promise<BrokerFiles> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const hosts = options.hosts.map(checkHost);
  if (hosts.length < 1 || hosts.length > HOSTS_MAX)
    throw new TownError('bad-host', `A broker is reached by 1 to ${HOSTS_MAX} names and addresses.`);
  const { out, port = BROKER_PORT, now } = options;
  const target = resolve(out);
  const keys = await readNodeKeys(folder);
  const { town, charter } = townIn(folder);
  const kept = await keptOrMade(folder, town, target, now);
  const users = usersOf(charter, keys, town);

  await makeFolderDurably(target);
  const key = newKey();
  const name = `Mergetown broker ${keys.id}`;
  const own = makeBrokerCertificate({ name, key, serial: randomBytes(16), now }, hosts, {
    name: authorityName(town),
    key: kept.authorityKey,
  });
  const authority = Buffer.from(kept.authority, 'base64');
  const put = (file: string, text: string, mode: number): Promise<void> =>
    writeFileDurably(join(target, file), text, mode);
  await put('ca.crt', pemOf(authority), 0o644);
  await put('server.key', key, 0o600);
  await put('server.crt', pemOf(own) + pemOf(authority), 0o644);
  await putUsers(target, town, users, kept.guest);
  await put('mosquitto.conf', configFile(target, port), 0o644);

  const [host = ''] = hosts;
  const broker: BrokerConfig = {
    url: `mqtts://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    pin: sha256(authority),
    keeper: keys.id,
    guest: kept.guest,
  };
  if (options.use === true) await writeConfig(folder, { ...(await readConfig(folder)), broker });
  return {
    folder: target,
    address: addressOf(broker),
    pin: sha256(authority),
    nodes: users.map(({ name: user }) => user),
    without: Object.keys(charter.nodes).filter((id) => users.every((user) => user.name !== id)),
  };
}

function checkHost(host: string): string {
  const isName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i.test(host);
  if (isName || isIPv6(host)) return host.toLowerCase();
  throw new TownError(
    'bad-host',
    `Expected the name or the address of the broker's machine, found "${host.slice(0, 80)}".`,
    'Name it like board.local or 192.168.1.10, without a port.',
  );
}

function townIn(folder: string): { readonly town: Sha256; readonly charter: Charter } {
  const db = openForReading(folder);
  try {
    const reads = new StoreReads(db);
    const town = reads.merge(0)?.content;
    if (!town) throw new TownError('no-town', `There is no town in ${folder}.`);
    return { town, charter: readCharter(State.from(reads.stateCollection('kernel', 'charter', 1))) };
  } finally {
    db.close();
  }
}

const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;

const authorityName = (town: Sha256): string => `Mergetown ${town.slice(0, 16)}`;

const textIn = (path: string): Promise<string | null> =>
  readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });

const keep = (folder: string, kept: BrokerKeys): Promise<void> =>
  writeFileDurably(keptPath(folder), brokerKeysText(kept), 0o600);

async function keptOrMade(folder: string, town: Sha256, out: string, now: number): Promise<BrokerKeys> {
  const path = keptPath(folder);
  const text = await textIn(path);
  if (text !== null) {
    const kept = { ...readKept(path, text), out };
    await keep(folder, kept);
    return kept;
  }
  const authorityKey = newKey();
  const authority = makeAuthority(authorityName(town), authorityKey, randomBytes(16), now);
  const made: BrokerKeys = {
    v: 1,
    authorityKey,
    authority: Buffer.from(authority).toString('base64'),
    guest: randomBytes(12).toString('base64url'),
    out,
  };
  await keep(folder, made);
  return made;
}

function readKept(path: string, text: string): BrokerKeys {
  const found = readBrokerKeys(text);
  if (found?.t === 'key') return found.value;
  throw new TownError(
    'bad-broker-keys',
    `${path} does not hold the authority of a broker${found === null ? '' : ' as it was written'}.`,
    'If a bit of it has flipped, `town verify --repair` sets it right. Else put back a good copy; or move it aside, and give every node the new address of the broker.',
  );
}

/**
 * Writes users and rights anew where the nodes of the charter are others than those that are written there; for the board that keeps
 * the broker. @returns whether it wrote: then the broker has to read them
 */
export async function refreshUsers(
  folder: string,
  keys: NodeKeys,
  town: Sha256,
  charter: Charter,
): Promise<boolean> {
  const path = keptPath(folder);
  const text = await textIn(path);
  if (text === null) return false;
  const { out, guest } = readKept(path, text);
  const users = usersOf(charter, keys, town);
  // What was taken elsewhere since is looked after there.
  const before = out === undefined ? null : await textIn(join(out, 'acl'));
  if (out === undefined || before === null || before === aclOf(town, users)) return false;
  await putUsers(out, town, users, guest);
  return true;
}

const aclOf = (town: Sha256, users: readonly User[]): string =>
  aclFile(
    town,
    users.map(({ name }) => name),
  );

/** The rights last: as long as they are the old ones, this is begun anew. */
async function putUsers(out: string, town: Sha256, users: readonly User[], guest: string): Promise<void> {
  const all = [...users, { name: GUEST, password: guest }];
  await writeFileDurably(join(out, 'passwords'), passwordFile(all), 0o600);
  await writeFileDurably(join(out, 'acl'), aclOf(town, users), 0o600);
}

interface User {
  readonly name: string;
  readonly password: string;
}

function usersOf({ nodes }: Charter, keys: NodeKeys, town: Sha256): readonly User[] {
  return Object.entries(nodes)
    .sort()
    .flatMap(([id, { sealing }]) => {
      if (sealing === undefined) return [];
      const about = { town, keeper: keys.id, node: id as NodeId };
      return { name: id, password: nodePassword(about, keys.sealingSecret, sealing) };
    });
}

/** As mosquitto_passwd writes it: PBKDF2 with SHA-512. The passwords are 192 random bits: 101 rounds, its default, are plenty. */
function passwordFile(users: readonly User[]): string {
  const rounds = 101;
  const lines = users.map(({ name, password }) => {
    const salt = randomBytes(12);
    const hash = pbkdf2Sync(password, salt, rounds, 64, 'sha512');
    return `${name}:$7$${rounds}$${salt.toString('base64')}$${hash.toString('base64')}\n`;
  });
  return lines.join('');
}

/** What each user may say and hear. Who has no name may do nothing. */
function aclFile(town: Sha256, nodes: readonly string[]): string {
  const all = `mergetown/${town.slice(0, 16)}`;
  const ofNode = (id: string): string =>
    [
      `user ${id}`,
      `topic read ${all}/heads/+`,
      `topic write ${all}/heads/${id}`,
      `topic read ${all}/to/${id}`,
      `topic write ${all}/to/+`,
      `topic readwrite ${all}/consensus`,
      `topic read ${all}/join/+/ask`,
      `topic write ${all}/join/+/answer`,
    ].join('\n');
  const guest = [`user ${GUEST}`, `topic write ${all}/join/+/ask`, `topic read ${all}/join/+/answer`].join(
    '\n',
  );
  return `# Written by \`town node broker-config\`, and by its daemon when a node came or went.\n\n${[guest, ...nodes.map(ofNode)].join('\n\n')}\n`;
}

const configFile = (folder: string, port: number): string =>
  [
    '# Written by `town node broker-config`, for Mosquitto 2.0 or later. Its user must be able to read the files named here.',
    `listener ${port}`,
    `certfile ${join(folder, 'server.crt')}`,
    `keyfile ${join(folder, 'server.key')}`,
    'tls_version tlsv1.2',
    'allow_anonymous false',
    `password_file ${join(folder, 'passwords')}`,
    `acl_file ${join(folder, 'acl')}`,
    '# Nothing is kept over a restart: nodes tell their heads anew.',
    'persistence false',
    `message_size_limit ${MESSAGE_BYTES_MAX + 1024}`,
    'max_connections 256',
    'max_queued_messages 1000',
    'max_inflight_messages 32',
    '',
  ].join('\n');

/** For tests and tools: the fingerprint as people compare it. */
export const fingerprintText = (pin: string): string =>
  hexOf(bytesOf(pin)).toUpperCase().match(/../g)?.join(':') ?? '';
