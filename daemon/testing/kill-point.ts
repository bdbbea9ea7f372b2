/**
 * Loaded into a daemon's process before its own modules (`node --import`), where a test means to end it, as a power cut or the
 * kernel would, at exactly one point of a height or a recovery. It wraps the methods at which the points lie; everything else is the product.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { MqttClient } from 'mqtt';
import { parseCertificate } from '../consensus/certificate.js';
import { canonicalize } from '../ledger/canonical.js';
import type { Json } from '../ledger/ids.js';
import { parseRecovery, type RecoveryStatement } from '../ledger/recovery.js';
import { AWAITED_RECOVERY_META, RECOVERY_META } from '../node/main-line.js';
import { Merger } from '../node/merger.js';
import { Peering } from '../node/peering.js';
import { RepositoryFiles } from '../store/repository-files.js';
import { Store } from '../store/store.js';
import { armed, KILL_POINT_FILE, tellReached, type KillPoint } from './kill-points.js';

const file = process.env[KILL_POINT_FILE];
if (file === undefined) throw new Error(`${KILL_POINT_FILE} does not say where the kill points are armed.`);

interface Sent {
  readonly points: readonly KillPoint[];
  readonly about: string;
}

function pass(point: KillPoint, about: string): void {
  if (armed(file as string) !== point) return;
  tellReached(file as string, { point, about });
  process.kill(process.pid, 'SIGKILL');
  // Not one more step, even where the signal took a moment.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** What this node signed and made durable last, as it lies in the log. */
let signed = '';
/** What is being handed to the client: when the broker has acknowledged it, the points are passed. */
let sending: Sent | null = null;
/** What began the last epoch that was begun in this process. */
let begun: RecoveryStatement | null = null;
/** The node's newest block, from the moment when it is durable until its heads are sent. */
let untold = '';
let packed = '';
/** The merge that is `main` since last. */
let adopted = '';
/** Whether what is done was decided without this node, and came with its certificate. */
const ofOthers = new AsyncLocalStorage<boolean>();

const store = { ...methodsOf(Store.prototype, 'appendEntries', 'putBlock', 'adopt', 'dropStaged') };
const { logConsensus, forgetConsensus } = methodsOf(Store.prototype, 'logConsensus', 'forgetConsensus');

Store.prototype.appendEntries = async function (batch) {
  const result = await store.appendEntries.call(this, batch);
  pass('append-durable', batch.entries[0]?.id ?? '');
  return result;
};

Store.prototype.putBlock = async function (batch) {
  const { id } = batch.block;
  const isOwn = batch.newEntries === undefined;
  if (isOwn) pass('block-before', id);
  await store.putBlock.call(this, batch);
  pass(isOwn ? 'block-durable' : 'peer-block-durable', id);
  if (isOwn) untold = id;
};

Store.prototype.logConsensus = async function (records) {
  const [record] = records;
  const { kind, step, text } = record ?? { kind: '', step: '', text: '' };
  const what = (kind === 'proposal' ? kind : step) as 'proposal' | 'prevote' | 'precommit';
  pass(`${what}-before`, text);
  await logConsensus.call(this, records);
  pass(`${what}-durable`, text);
  signed = text;
};

const { setMeta } = methodsOf(Store.prototype, 'setMeta');
Store.prototype.setMeta = async function (key, value) {
  if (key !== RECOVERY_META && key !== AWAITED_RECOVERY_META) return setMeta.call(this, key, value);
  pass('recovery-before', value);
  await setMeta.call(this, key, value);
  pass('recovery-durable', value);
  begun = parseRecovery(JSON.parse(value)).statement;
};

Store.prototype.adopt = async function (batch) {
  const { id } = batch.merge;
  const isOfOthers = ofOthers.getStore() === true;
  const isFirst = parseCertificate(batch.certificate).recovery !== undefined;
  pass(isOfOthers ? 'certified' : 'decided', id);
  if (isFirst) pass(isOfOthers ? 'epoch-certified' : 'epoch-decided', id);
  await store.adopt.call(this, batch);
  adopted = id;
  pass(isOfOthers ? 'certified-durable' : 'adopt-durable', id);
  if (isFirst) pass(isOfOthers ? 'epoch-certified-durable' : 'epoch-durable', id);
};

Store.prototype.forgetConsensus = async function (belowHeight) {
  pass('votes-kept', adopted);
  await forgetConsensus.call(this, belowHeight);
};

const { adoptDecided } = methodsOf(Merger.prototype, 'adoptDecided');
Merger.prototype.adoptDecided = function (raw, certificate) {
  return ofOthers.run(true, () => adoptDecided.call(this, raw, certificate));
};

Store.prototype.dropStaged = async function (upTo) {
  pass('git-refs', packed);
  await store.dropStaged.call(this, upTo);
  packed = '';
};

const { broadcast } = methodsOf(Peering.prototype, 'broadcast');
Peering.prototype.broadcast = function (message) {
  const { sig, epoch, height } = message.t === 'vote' ? message.vote : message.proposal;
  const what = message.t === 'vote' ? message.vote.step : message.t;
  const isFirst = begun !== null && epoch === begun.epoch && height === begun.height + 1;
  const points: KillPoint[] = [`${what}-sent`];
  if (isFirst && what === 'proposal') points.push('epoch-proposed');
  if (isFirst && what === 'precommit') points.push('epoch-voted');
  // What is said again, and what others signed, is no step of its own.
  sending = signed.includes(sig) ? { points, about: signed } : null;
  broadcast.call(this, message);
  sending = null;
};

const { sendRecovery } = methodsOf(Peering.prototype, 'sendRecovery');
Peering.prototype.sendRecovery = function (recovery) {
  sending = { points: ['recovery-sent'], about: canonicalize(recovery as unknown as Json) };
  sendRecovery.call(this, recovery);
  sending = null;
};

type Publish = (
  topic: string,
  payload: string,
  options: object,
  done?: (error?: Error) => void,
) => MqttClient;
const { publish } = methodsOf(MqttClient.prototype, 'publish') as unknown as { publish: Publish };
(MqttClient.prototype as unknown as { publish: Publish }).publish = function (
  this: MqttClient,
  topic,
  payload,
  options,
  done,
) {
  const isHeads = /\/heads\/[0-9a-f]+$/.test(topic) && untold !== '';
  const sent: Sent | null = isHeads ? { points: ['heads-sent'], about: untold } : sending;
  if (isHeads) untold = '';
  return publish.call(this, topic, payload, options, (error) => {
    if (!error && sent !== null) for (const point of sent.points) pass(point, sent.about);
    done?.(error);
  });
};

const files = methodsOf(RepositoryFiles.prototype, 'addPack', 'putRefs');
RepositoryFiles.prototype.addPack = async function (pack) {
  await files.addPack.call(this, pack);
  packed = pack.name;
};
RepositoryFiles.prototype.putRefs = async function (refs) {
  if (packed !== '') pass('git-half', packed);
  await files.putRefs.call(this, refs);
};

const { rename, rm } = fsPromises;
fsPromises.rename = async (from, to) => {
  pass('file-written', String(to));
  await rename(from, to);
  if (String(to).endsWith('.pack')) pass('git-pack', String(to));
  pass('file-there', String(to));
};
fsPromises.rm = async (path, options) => {
  await rm(path, options);
  if (String(path).endsWith('restored.json')) pass('restored-forgotten', String(path));
};
syncBuiltinESMExports();

/** The methods as they were, each to be called with its `this`. */
function methodsOf<T extends object, Name extends keyof T>(of: T, ...names: Name[]): Pick<T, Name> {
  return Object.fromEntries(names.map((name) => [name, of[name]])) as Pick<T, Name>;
}
