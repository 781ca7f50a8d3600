// npm run build:native [-- cmake-js arguments]: builds build/Release/anneal.node. Safe to run from several terminals at once, and
// quick when nothing changed. `--debug` builds build/Debug/anneal.node. Other arguments (--CDANNEAL_ISAS=v3) re-configure.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isProgram, locked, main, root, run, StageError } from './lib/stage.mjs';

/** CMake's cache is of use only in the place where it was made: a copied or moved tree starts again. */
function cacheIsOurs(out) {
  const cache = join(out, 'CMakeCache.txt');
  if (!existsSync(cache)) return false;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  return home === root;
}

const canBuild = (out) => existsSync(join(out, 'build.ninja')) || existsSync(join(out, 'Makefile'));

/**
 * @param {{ args?: string[], quiet?: boolean }} [options] `args` go to cmake-js
 */
export function buildNative({ args = [], quiet = false } = {}) {
  const cmakeJs = join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
  if (!existsSync(cmakeJs)) throw new StageError('node_modules has no cmake-js. Run: npm run setup');
  const config = args.includes('--debug') || args.includes('-D') ? 'Debug' : 'Release';
  const out = join(root, 'build', 'cmake', config);
  const common = ['--directory', root, '--out', out, '--config', config, '--log-level', quiet ? 'error' : 'warn'];
  const extra = args.filter((arg) => arg !== '--debug' && arg !== '-D');

  // node-gyp's make and ours must not mistake each other for one build.
  const env = { ...process.env };
  for (const name of ['MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES', 'CFLAGS', 'CXXFLAGS', 'LDFLAGS']) delete env[name];

  return locked('native-build', async () => {
    if (existsSync(out) && !cacheIsOurs(out)) rmSync(out, { recursive: true, force: true });
    const steps = [];
    if (extra.length > 0 || !canBuild(out)) steps.push(['configure', ...extra]);
    steps.push(['build', '--parallel', String(availableParallelism())]);
    for (const step of steps) {
      const status = await run(process.execPath, [cmakeJs, step[0], ...common, ...step.slice(1)], { quiet, env });
      if (status !== 0) throw new StageError('the native build failed; the compiler says why above.', status);
    }
    return 0;
  });
}

if (isProgram(import.meta.url)) main(() => buildNative({ args: process.argv.slice(2) }));
