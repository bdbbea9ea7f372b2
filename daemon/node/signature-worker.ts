/** A thread of the signature pool: takes texts and commits, answers with verdicts. Nothing else lives here. */
import { parentPort } from 'node:worker_threads';
import { checkBatch, type SignatureBatch } from './signature-batch.js';

parentPort?.on('message', (batch: SignatureBatch) => parentPort?.postMessage(checkBatch(batch)));
