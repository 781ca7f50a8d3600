/** What runs on the simulated GPU too: whatever computes. Where only host data pass (readers, schedules, files), once is enough. */
export const onEveryDevice = [
  'test/golden/*.test.ts',
  'test/ops/kernels-vs-f64.test.ts',
  'test/ops/tiles.test.ts',
  'test/optim/*.test.ts',
  'test/train/{stepper,accumulation,loss-scaling}.test.ts',
];
