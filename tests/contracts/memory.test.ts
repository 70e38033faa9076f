import { memoryWorld } from '../support/memory.ts';
import { readsContract } from './reads.ts';
import { shopRacesContract } from './shop-races.ts';
import { transactContract } from './transact.ts';

transactContract('memory', memoryWorld);
readsContract('memory', memoryWorld, [
  // keyOfCursor takes a NUL, which no adapter on Postgres can.
  'refuses a cursor of products with a text that no name can hold',
]);
shopRacesContract('memory', memoryWorld);
