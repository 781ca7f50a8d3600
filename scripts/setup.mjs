// npm run setup: makes a bare clone ready. System libraries, node_modules, the native addon; what is there already is left alone.
// Runs on Node 20 before anything is installed, so it imports nothing outside node:.
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildNative } from './build-native.mjs';
import { isProgram, locked, main, root, run, StageError } from './lib/stage.mjs';

const say = (line) => console.log(`anneal: ${line}`);

/** Programs and libraries that a build needs, each with its Debian package. */
const needs = [
  { what: 'C++ compiler', package: 'g++', found: () => onPath(process.env.CXX ?? 'c++') || onPath('g++') || onPath('clang++') },
  { what: 'CMake', package: 'cmake', found: () => onPath('cmake') },
  { what: 'make or ninja', package: 'make', found: () => onPath('make') || onPath('ninja') },
  { what: 'oneDNN', package: 'libdnnl-dev', found: () => hasHeader('dnnl.hpp') },
  { what: 'Gloo', package: 'libgloo-dev', found: () => hasHeader('gloo/config.h') },
];

/** Programs that tests use, each with its Debian packages. Where they cannot be had, those tests are skipped, by name. */
const testNeeds = [
  { what: 'Apertium', package: 'apertium apertium-eng-spa', found: () => onPath('apertium') },
  { what: 'Chromium', package: 'chromium', found: () => onPath('chromium') },
];

function onPath(program) {
  if (program.includes('/')) return existsSync(program);
  return (process.env.PATH ?? '').split(':').some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** A library's header, where compilers look and under the roots given to CMake in its own way. */
function hasHeader(name) {
  const roots = ['/usr', '/usr/local', ...(process.env.CMAKE_PREFIX_PATH ?? '').split(':').filter(Boolean)].map((r) =>
    join(r, 'include'),
  );
  const more = ['CPATH', 'CPLUS_INCLUDE_PATH'].flatMap((variable) => (process.env[variable] ?? '').split(':').filter(Boolean));
  return [...roots, ...more].some((dir) => existsSync(join(dir, name)));
}

export async function systemLibraries() {
  const missing = needs.filter((need) => !need.found());
  if (missing.length === 0) return;
  const packages = missing.map((need) => need.package).join(' ');
  const isRoot = process.getuid?.() === 0;
  if (!onPath('apt-get')) {
    throw new StageError(
      `missing: ${missing.map((n) => n.what).join(', ')}. Install them (Debian's names: ${packages}), then try again.`,
    );
  }
  if (!isRoot) throw new StageError(`run this once, then try again: sudo apt-get install -y --no-install-recommends ${packages}`);
  await install(packages);
}

/** What only tests need: asked for, not insisted on. */
export async function testPrograms() {
  const missing = testNeeds.filter((need) => !need.found());
  if (missing.length === 0) return;
  const [names, packages] = [missing.map((n) => n.what).join(' and '), missing.map((n) => n.package).join(' ')];
  const canInstall = process.getuid?.() === 0 && onPath('apt-get');
  const installed =
    canInstall &&
    (await install(packages).then(
      () => true,
      () => false,
    ));
  if (!installed) say(`without ${names} (Debian's packages: ${packages}), tests that need it are skipped`);
}

async function install(packages) {
  say(`installing system packages: ${packages}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-q'], { quiet: true, env });
  await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages.split(' ')], { quiet: true, env });
}

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** node_modules is what package-lock.json says: npm leaves its own account of it in node_modules/.package-lock.json. */
function modulesAreCurrent() {
  const installedLock = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedLock)) return false;
  const wanted = json(join(root, 'package-lock.json')).packages;
  const installed = json(installedLock).packages;
  const same = (a, b) => a.version === b.version && a.integrity === b.integrity;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || entry.link) continue;
    const there = installed[path];
    // What is optional (a binary for another platform) may be absent, but not different.
    if (there ? !same(there, entry) : !(entry.optional || entry.peer)) return false;
  }
  return Object.keys(installed).every((path) => path in wanted);
}

export async function nodeModules() {
  if (modulesAreCurrent()) return;
  say('installing node_modules (npm ci)');
  await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { quiet: true });
}

export async function nativeAddon() {
  const first = !existsSync(join(root, 'build', 'Release', 'anneal.node'));
  if (first) say('building the native addon (some minutes the first time)');
  await buildNative({ quiet: true });
}

/** All stages, in order. Two at once take turns. */
export function setup() {
  return locked('set-up', async () => {
    await systemLibraries();
    await nodeModules();
    await nativeAddon();
    return 0;
  });
}

if (isProgram(import.meta.url)) {
  main(async () => {
    await setup();
    say('ready. npm start trains the example, npm test runs the tests.');
  });
}
