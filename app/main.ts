import closeWithGrace from 'close-with-grace';
import { pino } from 'pino';
import { compose } from './compose.ts';
import { environment, readConfig } from './config.ts';
import { giveUp } from './give-up.ts';
import { seedDemoShop } from './seed.ts';

const start = async () => {
  const config = readConfig(environment());
  const logger = pino({
    level: config.LOG_LEVEL,
    redact: { paths: ['*.password', '*.passwordHash', '*.authorization', '*.accessToken', '*.refreshToken'], censor: '***' },
  });
  const service = await compose(config, logger);
  const embedded = config.DATABASE_URL === undefined;
  if (embedded) await seedDemoShop(service.shop);

  closeWithGrace({ delay: 30_000 + config.SHUTDOWN_DELAY_SECONDS * 1_000, logger: false }, async ({ err }) => {
    if (err) logger.fatal({ err }, 'closing after a fault');
    service.closing();
    // Those who send requests here learn from /readyz to send them elsewhere.
    if (!err) await new Promise((resolve) => setTimeout(resolve, config.SHUTDOWN_DELAY_SECONDS * 1_000));
    await service.close();
  });
  service.broken.then(() => {
    logger.fatal('the embedded Postgres is gone; start again');
    process.exit(1);
  });

  const address = await service.app
    .listen({ port: config.PORT, host: config.HOST })
    .catch(async (error: NodeJS.ErrnoException) => {
      await service.close();
      throw error.code === 'EADDRINUSE' ? new Error(`port ${config.PORT} is taken; set PORT to another one`) : error;
    });
  logger.info({ address, role: config.ROLE }, 'ready');
  if (embedded) {
    process.stdout.write(
      [
        '',
        `  firstcome   ${address}`,
        `  docs        ${address}/docs`,
        `  operator    ${config.OPERATOR_API_KEY ? 'as in OPERATOR_API_KEY' : service.operatorApiKey}`,
        `  data        ${config.DATA_DIR}`,
        '',
        `  curl -s '${address}/v1/products?limit=3'`,
        '',
        '',
      ].join('\n'),
    );
  }
};

start().catch(giveUp);
