/** The membership contract as a program. */
import { runContract } from '../sdk/typescript/contract.js';
import { membership } from './membership.js';

runContract(membership);
