/** The gigs contract as a program. */
import { runContract } from '../sdk/typescript/contract.js';
import { gigs } from './gigs.js';

runContract(gigs);
