import { migrateDatabase } from './compose.ts';
import { environment, readConfig } from './config.ts';
import { giveUp } from './give-up.ts';

// Brings the database of DATABASE_URL up to date and ends. The service does the same at its start; a deployment of many
// replicas runs this once before them.
const run = async () => {
  const { DATABASE_URL } = readConfig(environment());
  if (!DATABASE_URL) throw new Error('set DATABASE_URL to the database to migrate; the embedded one is migrated at every start');
  await migrateDatabase(DATABASE_URL);
};

run().catch(giveUp);
