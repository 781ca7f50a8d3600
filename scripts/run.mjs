// node scripts/run.mjs PROGRAM [arguments]: sets up, then runs a program of this repository from its TypeScript source.
// PROGRAM is a path (bench/main.ts) or the name of a folder in examples/ (mnist).
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { leaveSignalsToChild, main, root, run, StageError } from './lib/stage.mjs';
import { setup } from './setup.mjs';

function examples() {
  const dir = join(root, 'examples');
  if (!existsSync(dir)) return [];
  return readdirSync(dir).filter((name) => existsSync(join(dir, name, 'main.ts')));
}

function find(program) {
  const known = examples();
  if (program === undefined)
    throw new StageError(`which program? Examples: ${known.join(', ')}. npm run example -- NAME [options]`, 2);
  if (known.includes(program)) return join('examples', program, 'main.ts');
  if (existsSync(join(root, program))) return program;
  throw new StageError(`there is no program "${program}". Examples: ${known.join(', ')}.`, 2);
}

main(async () => {
  const [program, ...args] = process.argv.slice(2);
  const file = find(program);
  await setup();
  leaveSignalsToChild();
  return run(process.execPath, ['--import', 'tsx', file, ...args]);
});
