import { memoryWorld } from '../support/memory.ts';
import { couponsContract } from './coupons.ts';
import { readsContract } from './reads.ts';
import { shopRacesContract } from './shop-races.ts';
import { transactContract } from './transact.ts';

transactContract('memory', memoryWorld);
readsContract('memory', memoryWorld);
shopRacesContract('memory', memoryWorld);
couponsContract('memory', memoryWorld);
