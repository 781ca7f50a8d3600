// Launching reductions (native/cuda/reduce.cu, reduce_grad.cu): what the ops and the norms by channel share.
#pragma once
#include "cuda/launch.h"
#include "cuda/walk.h"

namespace anneal::cuda {

/** From dimensions and flags (1: reduced), neighbours of one kind merged. */
Walk walkOf(int rank, const double* dims, const double* flags);
/** From attributes: rank, dims, flags. */
Walk walkOf(const Call& c, int at);
inline int64_t outputsOf(const Walk& w) { return w.outer * (w.rows ? 1 : w.inner); }
inline int64_t elementsOf(const Walk& w) { return w.outer * w.count * w.inner; }

/** How a walk is cut. Depends on the shape alone, so results do too. */
struct Cut {
  bool wide = false;  // rows: a block each, not a warp
  int logWidth = 0;   // columns: packs of columns in a block
  int64_t chunk = 0, chunks = 1;
  Dim3 grid;
};
Cut cutOf(const Walk& w, int perPack);
int logWidthFor(int64_t packs);

/**
 * Runs `kernel`_rows or _columns, and _finish where the walk was cut, over x (and x2).
 * @param stateBytes of one partial state; scratch slot 0 holds the partials
 */
void reduce(const std::string& kernel, DType t, const Walk& w, const void* x, const void* x2, const ReduceTo& to, int stateBytes);

}  // namespace anneal::cuda
