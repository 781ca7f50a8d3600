// The step state: one f64 tensor per training step's owner, that lets the device decide about an update without asking the host.
// lib/optim/step-state.ts mirrors the slots; test/optim/step-state.test.ts holds the two together.
#pragma once

namespace anneal {

enum StepSlot {
  kSkip = 0,         // 0: update; 1: a gradient is inf or NaN; 2: the divisor (the window's count) is not positive
  kGradNorm = 1,     // global norm of the unscaled gradients, before clipping
  kClipFactor = 2,   // min(1, maxNorm / (norm + 1e-6)); 1 without clipping
  kUnscale = 3,      // multiplies every gradient: inverseScale / (scale * count)
  kApplied = 4,      // t: updates applied so far; indexes the table of rates
  kRateFactor = 5,   // the schedule's factor for this step, from the table at t
  kSumSquares = 6,   // of the unscaled gradients seen so far in this step
  kAttempts = 7,     // steps begun, skipped ones included
  kWasApplied = 8,   // 1 if the last step that ended was applied
  kReported = 9,     // kReports values copied from device scalars at the step's end (losses, counts)
  kReports = 6,
  kStepSlots = 16,
};

}  // namespace anneal
