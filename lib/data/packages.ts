// Packages that users install when they need them.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DataError } from '../native/errors.ts';

/** Where a program's packages are: seen from its working directory, and from the script that runs. */
function places(): NodeJS.Require[] {
  return [join(process.cwd(), 'noop.js'), process.argv[1]].flatMap((from) =>
    from === undefined ? [] : [createRequire(pathToFileURL(from))],
  );
}

function resolved(request: string, from: readonly NodeJS.Require[]): string | undefined {
  for (const require of from) {
    try {
      return require.resolve(request);
    } catch {
      // not there: try the next place
    }
  }
  return undefined;
}

/** The folder of an installed package; undefined where there is none. */
export function packageFolder(name: string): string | undefined {
  const file = resolved(`${name}/package.json`, places());
  return file === undefined ? undefined : dirname(file);
}

/** The URL of an installed package's code, the program's or what is beside Anneal. Throws DataError naming the package where it is missing. */
export function packageFile(where: string, name: string): string {
  const file = resolved(name, [...places(), createRequire(import.meta.url)]);
  if (file !== undefined) return pathToFileURL(file).href;
  throw new DataError(`${where}: the package ${name} is not installed here (${process.cwd()}). Run \`npm install ${name}\`.`);
}

/** An installed package's exports. Throws DataError naming the package where it is missing or does not load. */
export async function importPackage<T>(where: string, name: string): Promise<T> {
  const file = packageFile(where, name);
  try {
    const loaded = (await import(file)) as { default?: unknown };
    // Of a CommonJS file, import may not see the names.
    return { ...Object(typeof loaded.default === 'object' ? loaded.default : {}), ...loaded } as T;
  } catch (cause) {
    const why = (cause as Error).message.split('\n')[0];
    throw new DataError(`${where}: the package ${name} does not load (${why}). Run \`npm install ${name}\` again.`, { cause });
  }
}
