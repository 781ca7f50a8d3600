// npm test [-- vitest arguments]: sets up, then lint and format, types, tests. The first that fails ends it. Where nvcc is, the CUDA kernels and
// the simulated GPU are built too, and the tests run on it.
import { buildKernels, hasNvcc } from './build-kernels.mjs';
import { buildSimulator } from './build-simulator.mjs';
import { bin, leaveSignalsToChild, main, run } from './lib/stage.mjs';
import { setup, testPrograms } from './setup.mjs';

const stages = (args) => [
  ['lint and format', bin('biome'), ['ci', '--colors', process.stdout.isTTY ? 'force' : 'off', '.']],
  ['types', bin('tsc'), ['--noEmit']],
  ['tests', bin('vitest'), ['run', ...args]],
];

main(async () => {
  await setup();
  await testPrograms();
  if (await hasNvcc()) {
    console.log('anneal: CUDA kernels and the simulated GPU');
    await buildSimulator({ quiet: true });
    await buildKernels({ archs: [80, 90] }); // machine code for two architectures, held to its static gates
  }
  leaveSignalsToChild();
  for (const [name, command, args] of stages(process.argv.slice(2))) {
    console.log(`anneal: ${name}`);
    const status = await run(command, args);
    if (status !== 0) return status;
  }
});
