import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DataError } from '../native/errors.ts';

/** The file of a thread's code: plain JavaScript beside this one in the sources, an entry of its own beside the bundle in the package. */
export function workerFile(where: string, source: string, bundled: string): URL {
  const places = [bundled, source].map((p) => new URL(`./${p}`, import.meta.url));
  const found = places.find((url) => existsSync(fileURLToPath(url)));
  if (found) return found;
  const looked = places.map((url) => fileURLToPath(url)).join(', ');
  throw new DataError(`${where}: the worker's file is missing (looked for ${looked}). Install anneal again.`);
}
