#!/usr/bin/env node
/** The `anneal` command: one subcommand per file of this folder. */
import { Command } from 'commander';
import { doctor } from './doctor.ts';

const program = new Command('anneal').description('Trains neural networks from TypeScript.').showHelpAfterError();

program
  .command('doctor')
  .description('what this machine offers: GPUs, driver, kernels, processor; and for what is missing the remedy')
  .option('--json', 'for programs')
  .action((options) => {
    process.exitCode = doctor(options);
  });

void program.parseAsync();
