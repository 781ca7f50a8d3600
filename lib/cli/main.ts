#!/usr/bin/env node
/** The `anneal` command: one subcommand per file of this folder. */
import { Command } from 'commander';
import { AnnealError } from '../native/errors.ts';
import { control } from './control.ts';
import { diagnose } from './diagnose.ts';
import { doctor } from './doctor.ts';
import { launch } from './launch.ts';
import { lrFind } from './lr-find.ts';
import { report } from './report.ts';
import { runs } from './runs.ts';
import { watch } from './watch.ts';

const program = new Command('anneal')
  .enablePositionalOptions()
  .description('Trains neural networks from TypeScript.')
  .showHelpAfterError();

program
  .command('doctor')
  .description('what this machine offers: GPUs, driver, kernels, processor; and for what is missing the remedy')
  .option('--json', 'for programs')
  .action((options) => {
    process.exitCode = doctor(options);
  });

program
  .command('diagnose')
  .description(
    'what is wrong with a run, with the figures that show it and the next action; exits with 1 where something is an error',
  )
  .argument('<run>', "a run's folder, or its metrics.jsonl")
  .option('--json', 'for programs')
  .action(async (run, options) => {
    process.exitCode = await diagnose(run, options);
  });

program
  .command('lr-find')
  .description('tries learning rates on a training script and suggests one; nothing of the script is changed')
  .argument('<script>', 'exports by default a Trainer, or a function that gives { trainer, train }; and as `train` its loader')
  .option('--from <rate>', 'the first rate (default 1e-7)')
  .option('--to <rate>', 'the last rate (default 10)')
  .option('--iterations <steps>', 'optimizer steps (default 100)')
  .option('--accumulate <batches>', 'micro-batches per step (default 1)')
  .option('--stop-at <times>', 'ends once the loss is so many times its best (default 4)')
  .option('--svg <file>', 'writes the curve as a picture')
  .option('--json', 'for programs')
  .action((script, options) => lrFind(script, options));

program
  .command('control')
  .description('changes a run that is under way, at its next step; says at which step, or why not')
  .argument('<run>', "the run's folder, the Trainer's `dir`")
  .option('--lr <rate>', 'learning rate of the coming step; the schedule goes on from it')
  .option('--evaluate', 'evaluates now')
  .option('--checkpoint', 'writes a checkpoint now')
  .option('--stop-after-epoch', 'ends the run with the epoch under way')
  .option('--timeout <seconds>', 'how long to wait for the answer (default 60)')
  .option('--json', 'for programs')
  .action(async (run, options) => {
    process.exitCode = await control(run, options);
  });

program
  .command('report')
  .description('a run as one HTML page: curves, evaluation, findings, configuration; it needs no network')
  .argument('<run>', "a run's folder, or its metrics.jsonl")
  .option('-o, --output <file>', "where to write it (default report.html in the run's folder; - for the terminal)")
  .action((run, options) => report(run, options));

program
  .command('runs')
  .description('lists runs with their state and best figures, or compares two')
  .argument('[folder]', 'the folder that holds them', 'runs')
  .option('--compare <runs...>', 'two runs: what they were told differently, and what came of it')
  .option('--json', 'for programs')
  .action((folder, options) => runs(folder, options));

program
  .command('watch')
  .description('a live page of runs: curves, findings, evaluations, and buttons that steer; and /metrics for Prometheus')
  .argument('[folder]', 'a run, or a folder that holds some', 'runs')
  .option('--port <number>', 'where it listens; 0: any (default 6007)')
  .option('--host <address>', 'listens on this address too, not on this machine alone; a token is then needed')
  .option('--token', 'asks for a token on this machine, too: other users of it may not look or steer')
  .action((folder, options) => watch(folder, options));

program
  .command('launch')
  .description('starts a script as several processes of one world on this machine; names what failed first')
  .argument('<script>', 'calls dist.init or dist.run')
  .argument('[args...]', "the script's own")
  .option('--nproc-per-node <processes>', 'how many (default 1)')
  .option('--max-restarts <times>', 'how often all are started again after a failure (default 0)')
  .option('--log-dir <folder>', 'a file per attempt and rank (default runs/launch-TIME)')
  .option('--grace <seconds>', 'from SIGTERM to SIGKILL (default 10)')
  .passThroughOptions()
  .action(async (script, args, options) => {
    process.exitCode = await launch(script, args, options);
  });

program.parseAsync().catch((error: unknown) => {
  // What we say ourselves needs no stack.
  console.error(error instanceof AnnealError ? error.message : error);
  process.exitCode = 1;
});
