/** TypeScript that Node does not run by itself is run by the tsx that is installed beside the script. */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '../native/errors.ts';

/** Where the script's own tsx is: its URL. Throws ConfigError with the remedy. */
export function tsxOf(command: string, script: string, part: 'tsx' | 'tsx/esm/api'): string {
  try {
    return pathToFileURL(createRequire(pathToFileURL(resolve(script))).resolve(part)).href;
  } catch {
    throw new ConfigError(
      `${command}: Node ${process.versions.node} does not run TypeScript, and tsx is not installed where ${script} is. npm install --save-dev tsx, or give JavaScript.`,
    );
  }
}
