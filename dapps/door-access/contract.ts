/** The door-access contract as a program. */
import { runContract } from '../sdk/typescript/contract.js';
import { doorAccess } from './door-access.js';

runContract(doorAccess);
