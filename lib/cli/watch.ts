/** The live page of a folder of runs. */
import { randomBytes } from 'node:crypto';
import { serveRuns } from '../monitor/watch/server.ts';
import { ConfigError } from '../native/errors.ts';

/** Options of the command, as they were typed. */
export interface WatchOptions {
  port?: string;
  host?: string;
  token?: boolean;
}

/** A token that outlives this process, for a Prometheus that is configured once. */
const variable = 'ANNEAL_WATCH_TOKEN';

function tokenOf(needed: boolean): string | undefined {
  const given = process.env[variable];
  if (given !== undefined && !/^[\w.~-]{16,256}$/.test(given))
    throw new ConfigError(`watch: ${variable} must have 16 to 256 letters, digits or -_.~`);
  return given ?? (needed ? randomBytes(32).toString('hex') : undefined);
}

/** `anneal watch`: serves until it is interrupted. */
export async function watch(folder: string, options: WatchOptions): Promise<void> {
  const { host, port: typed = '6007', token: asked = false } = options;
  const port = /^\d{1,5}$/.test(typed) ? Number(typed) : Number.NaN;
  if (!(port <= 65535)) throw new ConfigError(`watch: --port must be a number from 0 to 65535, got ${JSON.stringify(typed)}`);
  const token = tokenOf(asked);
  const server = await serveRuns(folder, {
    port,
    ...(host === undefined ? {} : { host }),
    ...(token === undefined ? {} : { token }),
  });
  console.log(`watching ${folder}: ${server.url}\nmetrics for Prometheus: ${new URL('/metrics', server.url)}\nCtrl+C ends it.`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void server.close().then(() => process.exit(0)));
}
