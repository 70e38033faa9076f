import { connectReads } from '../adapters/postgres/connection.ts';
import { migrate } from '../adapters/postgres/migrate.ts';
import { environment, readConfig } from './config.ts';

// Brings the database of DATABASE_URL up to date and ends. The service does the same at its start; a deployment of many
// replicas runs this once before them.
const { DATABASE_URL } = readConfig(environment());
if (!DATABASE_URL) throw new Error('set DATABASE_URL to the database to migrate; the embedded one is migrated at every start');
const reads = connectReads(DATABASE_URL, 1);
await migrate(reads);
await reads.close();
