// What launchers of matrix products and convolutions share: tiles, cuts along k, what may move 16 bytes at a time.
#pragma once
#include "cuda/gemm.h"
#include "cuda/launch.h"

namespace anneal::cuda {

struct Tiling {
  const char* size;
  int rows, columns;
  uint32_t threads;
};

/** The largest tile that still gives every processor work; f32 has two sizes, 16-bit floats three. */
Tiling tilingOf(const Gemm& g, DType t, bool smallOnly);
/** Cuts k where the tiles alone leave processors idle and k is long; takes the workspace from scratch. */
void cutAlongK(Gemm& g, const Tiling& tiling);
/** Whether rows that begin every `ld` elements of `size` bytes, and matrices every `stride`, begin on `unit` bytes. */
bool aligned(const void* p, int64_t ld, int64_t stride, size_t size, int64_t unit = 16);
/** What the product asks for beyond the sum: bits of End. */
int endsOf(const Gemm& g, DType t);
/** Fills alignedC and alignedPartials. */
void alignResult(Gemm& g, DType t);
/** Scratch slot of the parts of a product that was cut along k. */
constexpr int kParts = 0;
/** Adds the parts in order, and finishes. */
void finishParts(const Gemm& g, DType t);
/** Runs `kernel` over the tiles (a product of more batches than a grid has takes several launches), then the finish of parts where k was cut. */
void runGemm(const Gemm& g, const std::string& kernel, const Tiling& tiling, DType t, double bytes);

}  // namespace anneal::cuda
