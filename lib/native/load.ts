import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AnnealError } from './errors.ts';

/** Where a build made in this tree may lie, in the order of the `bindings` package; {node} is this Node's version. */
const LOCAL_BUILDS = [
  'build',
  'build/Debug',
  'build/Release',
  'out/Debug',
  'Debug',
  'out/Release',
  'Release',
  'build/default',
  'compiled/{node}/{platform}/{arch}',
  'addon-build/release/install-root',
  'addon-build/debug/install-root',
  'addon-build/default/install-root',
  'lib/binding/node-v{abi}-{platform}-{arch}',
];

const FILE = 'anneal.node';

interface Attempt {
  path: string;
  reason: string;
}

/** The package's root: the nearest folder above this module whose package.json is Anneal's. Serves lib/ and dist/ alike. */
export function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; ; dir = dirname(dir)) {
    const manifest = join(dir, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'anneal') return dir;
    // A bundler has moved this module out of the package: node_modules may still hold the platform package.
    if (dirname(dir) === dir) return start;
  }
}

/** musl has its own builds. Asked of ldd's text first, since a process report costs milliseconds. */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    return readFileSync('/usr/bin/ldd', 'utf8').includes('musl');
  } catch {
    const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
    return report !== undefined && report.header?.glibcVersionRuntime === undefined;
  }
}

function platformPackage(): string {
  return `@anneal/${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}`;
}

function localBuilds(root: string): string[] {
  const values: Record<string, string> = {
    node: process.versions.node,
    abi: process.versions.modules,
    platform: process.platform,
    arch: process.arch,
  };
  return LOCAL_BUILDS.map((place) =>
    join(
      root,
      place.replace(/\{(\w+)\}/g, (_, key: string) => values[key] ?? ''),
      FILE,
    ),
  );
}

/** The likely mistake behind the loader's words, and what to do. */
function remedies(attempts: readonly Attempt[], root: string): string[] {
  const reasons = attempts.map((attempt) => attempt.reason).join('\n');
  const list: string[] = [];
  const library = /(\S+\.so[.\d]*): cannot open shared object file/.exec(reasons)?.[1];
  if (library?.startsWith('libdnnl')) {
    list.push('oneDNN is not installed: npm run setup, or apt-get install libdnnl-dev');
  } else if (library) {
    list.push(`the shared library ${library} is not installed; install the system package that holds it`);
  }
  if (/GLIBC(XX)?_[\d.]+' not found/.test(reasons)) {
    list.push("this binary was built for a newer system; build it here: npm run build:native, in Anneal's folder");
  }
  if (/invalid ELF header|wrong ELF class|incompatible architecture|mach-o/i.test(reasons)) {
    list.push('this binary is for another platform: remove node_modules (and build/) and install again on this machine');
  }
  if (process.env.ANNEAL_BINARY) {
    list.push('ANNEAL_BINARY is set, so nothing else was tried: unset it, or point it at an anneal.node');
  } else if (existsSync(join(root, 'CMakeLists.txt'))) {
    list.push('in a clone of the repository: npm run setup (or npm run build:native)');
  } else {
    list.push(`install the prebuilt addon: npm install ${platformPackage()}`);
    list.push('if npm was told to omit optional dependencies (--omit=optional, --no-optional), install again without that');
  }
  return list;
}

function failure(attempts: readonly Attempt[], root: string, cause: unknown): AnnealError {
  const tried = attempts.map(({ path, reason }) => `  ${path}: ${reason}`).join('\n');
  const remedy = remedies(attempts, root).map((line) => `  - ${line}`);
  const machine = `${process.platform}-${process.arch}, Node ${process.versions.node}`;
  const message = `The native addon could not be loaded (${machine}).\nTried:\n${tried}\nRemedies:\n${remedy.join('\n')}`;
  return new AnnealError('NATIVE_LOAD', message, { cause });
}

const text = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\nRequire stack')[0] as string;

/**
 * OpenMP's threads wait for the next parallel loop by spinning, for milliseconds unless told otherwise: where processors are shared (with the
 * JavaScript thread, loader threads, other processes) they starve those that have work. A few tenths of one span the gaps within a step. The
 * library reads its settings once, when it is loaded; what the user has set stays.
 */
function withShortSpin<T>(load: () => T): T {
  if (process.env.GOMP_SPINCOUNT !== undefined || process.env.OMP_WAIT_POLICY !== undefined) return load();
  process.env.GOMP_SPINCOUNT = '30000';
  try {
    return load();
  } finally {
    delete process.env.GOMP_SPINCOUNT;
  }
}

function search(): unknown {
  const root = packageRoot();
  const require = createRequire(join(root, 'package.json'));
  const attempts: Attempt[] = [];

  const load = (path: string): unknown => {
    try {
      const loaded = withShortSpin(() => require(path));
      file = path;
      return loaded;
    } catch (error) {
      attempts.push({ path, reason: text(error) });
      throw failure(attempts, root, error);
    }
  };

  const chosen = process.env.ANNEAL_BINARY;
  if (chosen) return load(resolve(chosen));

  // A build that is there and does not load ends the search: another binary in its place would hide the fault.
  for (const path of localBuilds(root)) {
    if (existsSync(path)) return load(path);
    attempts.push({ path, reason: 'no such file' });
  }
  const name = platformPackage();
  let resolved: string;
  try {
    resolved = require.resolve(`${name}/${FILE}`);
  } catch (error) {
    attempts.push({ path: name, reason: 'not installed' });
    throw failure(attempts, root, error);
  }
  return load(resolved);
}

let addon: unknown;
let file = '';

/**
 * The native addon, loaded once per environment (main thread or worker). Looked for at $ANNEAL_BINARY (then nowhere else), among
 * the builds of this tree in the order of the `bindings` package, and in the platform package `@anneal/<platform>-<arch>[-musl]`.
 *
 * @throws AnnealError with code NATIVE_LOAD, listing every place tried, why it failed, and what to do.
 */
export function loadAddon(): unknown {
  addon ??= search();
  return addon;
}

/** The file of the native addon, for threads that load it without this module. Loads it if that has not been done. */
export function addonFile(): string {
  loadAddon();
  return file;
}
