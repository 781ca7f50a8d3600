/**
 * What runs on the simulated GPU too: whatever computes. The CPU's run alone has what concerns the host (readers, files, schedules, refusals of
 * arguments, the event loop, growth of memory over hours, worker threads that end, processes that are killed and resume), what f64 alone can
 * check (gradcheck), the CPU's own kernels (matmul-direct), and the MNIST course of test/api, which test/cuda/training.test.ts runs shortened.
 */
export const onEveryDevice = [
  'test/api/{loop,module-and-op,tensors}.test.ts',
  'test/autograd/{checkpoint,graph,hooks,scope}.test.ts',
  'test/golden/*.test.ts',
  'test/monitor/{anomaly,profile,summary}.test.ts',
  'test/nn/*.test.ts',
  'test/ops/{attention,conv,dropout,embedding,index,index-gradients,loss,losses,norm,pool,random,reduce,select}.test.ts',
  'test/ops/{array,indexing,integers,scatter,kernels-vs-f64,shares,sizes,ties,tiles,values}.test.ts',
  'test/ops/exact-{draws,gradients,products,reductions,rows}.test.ts',
  'test/optim/*.test.ts',
  'test/tensor/*.test.ts',
  'test/train/{eval-metrics,generate,recording,sample-outputs,trials}.test.ts',
  'test/train/{stepper,average,accumulation,early-stopping,loss-scaling,precision,trainer}.test.ts',
];
