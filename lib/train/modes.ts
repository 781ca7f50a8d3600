import type { Module } from '../nn/module.ts';

/** Every module's mode, training or not, as it is now; put back by the function that it returns. */
export function rememberModes(model: Module): () => void {
  const modes = model.modules().map((m) => [m, m.training] as const);
  return () => {
    for (const [m, training] of modes) m.training = training;
  };
}
