// node test/typed/time.mjs [runs]: what shapes in the types cost the compiler. Type-checks the examples as they are, and with two of them (gpt,
// mnist) in their versions over anneal/typed (test/typed/examples), in turn, against the package's declarations (npm run build:dist); prints
// medians and ratios, and the compiler's own counts, which no busy machine changes. docs/library.md has the figures.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const runs = Number(process.argv[2] ?? 9);
const own = (name) => join(root, 'examples', name);
const typed = (name) => join(root, 'test', 'typed', 'examples', name);
const versions = readdirSync(join(root, 'test', 'typed', 'examples'));
const others = readdirSync(join(root, 'examples'))
  .filter((name) => !versions.includes(name))
  .map(own);
const projects = {
  'all examples': { plain: [...others, ...versions.map(own)], typed: [...others, ...versions.map(typed)] },
  'gpt and mnist alone': { plain: versions.map(own), typed: versions.map(typed) },
};

if (!existsSync(join(root, 'dist/typed.d.mts'))) throw new Error('dist is not built. Run: npm run build:dist');
const folder = mkdtempSync(join(tmpdir(), 'typed-time-'));

/** One run of the compiler: its time in seconds, and its counts. */
function check(project) {
  const { stdout, status } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', project, '--extendedDiagnostics', '--pretty', 'false'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`${project} does not compile:\n${stdout}`);
  const value = (name) => Number(new RegExp(`^${name}:\\s+([\\d.]+)`, 'm').exec(stdout)?.[1]);
  return {
    total: value('Total time'),
    check: value('Check time'),
    instantiations: value('Instantiations'),
    types: value('Types'),
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

try {
  for (const [what, kinds] of Object.entries(projects)) {
    const measured = { plain: [], typed: [] };
    for (const kind of ['plain', 'typed']) {
      const config = {
        extends: join(root, 'tsconfig.json'),
        compilerOptions: {
          paths: { anneal: [join(root, 'dist/index.d.mts')], 'anneal/typed': [join(root, 'dist/typed.d.mts')] },
          typeRoots: [join(root, 'node_modules/@types')],
        },
        include: kinds[kind],
        exclude: [],
      };
      writeFileSync(join(folder, `${kind}.json`), JSON.stringify(config));
      check(join(folder, `${kind}.json`)); // warms the file cache
    }
    for (let i = 0; i < runs; i++)
      for (const kind of ['plain', 'typed']) measured[kind].push(check(join(folder, `${kind}.json`)));
    console.log(`${what}, medians of ${runs} alternating runs`);
    for (const field of ['total', 'check', 'instantiations', 'types']) {
      const [a, b] = ['plain', 'typed'].map((kind) => median(measured[kind].map((m) => m[field])));
      console.log(
        `  ${field.padEnd(15)} plain ${String(a).padStart(8)}  typed ${String(b).padStart(8)}  ratio ${(b / a).toFixed(2)}`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
