// Small matrices transposed in registers.
#pragma once
#include <cstring>
#include <utility>

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

/** A square of kWidth rows is transposed by log2(kWidth) rounds, each interleaving the rows of the upper half with those of the lower. */
template <class E>
struct Square {
  static constexpr int kWidth = 16 / sizeof(E);
  typedef E V __attribute__((vector_size(16)));

  template <int... I>
  static ANNEAL_ALWAYS V low(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shuffle(a, b, V{E(I % 2 ? kWidth + I / 2 : I / 2)...});
  }
  template <int... I>
  static ANNEAL_ALWAYS V high(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shuffle(a, b, V{E(kWidth / 2 + (I % 2 ? kWidth + I / 2 : I / 2))...});
  }
  /** to[j][i] = from[i][j]; strides count elements. */
  static ANNEAL_ALWAYS void transpose(const E* from, int64_t fromStride, E* to, int64_t toStride) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth>();
    V a[kWidth], b[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) std::memcpy(&a[i], from + i * fromStride, 16);
#pragma GCC unroll 4
    for (int round = 1; round < kWidth; round *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < kWidth / 2; ++i) {
        b[2 * i] = low(a[i], a[i + kWidth / 2], lanes);
        b[2 * i + 1] = high(a[i], a[i + kWidth / 2], lanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) a[i] = b[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) std::memcpy(to + i * toStride, &a[i], 16);
  }
};

/** to[j][i] = from[i][j] for a rows x columns matrix: squares, and what is left at the edges. */
template <class E>
void transposeTile(const E* from, int64_t fromStride, int64_t rows, int64_t columns, E* to, int64_t toStride) {
  constexpr int64_t kWidth = Square<E>::kWidth;
  int64_t i = 0;
  for (; i + kWidth <= rows; i += kWidth) {
    int64_t j = 0;
    for (; j + kWidth <= columns; j += kWidth) Square<E>::transpose(from + i * fromStride + j, fromStride, to + j * toStride + i, toStride);
    for (; j < columns; ++j)
      for (int64_t k = i; k < i + kWidth; ++k) to[j * toStride + k] = from[k * fromStride + j];
  }
  for (; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[j * toStride + i] = from[i * fromStride + j];
}

/**
 * The same for matrices of any size, in tiles of a cache line each way. Where strides are multiples of a kilobyte the lines of a tile share a few
 * cache sets and push each other out: then through a buffer, so that each line is touched once, whole.
 */
template <class E>
void transposeMatrix(const E* from, int64_t fromStride, int64_t rows, int64_t columns, E* to, int64_t toStride) {
  constexpr int64_t kTile = 64 / sizeof(E);
  const bool clash = (fromStride * sizeof(E)) % 1024 == 0 || (toStride * sizeof(E)) % 1024 == 0;
  E tile[kTile * kTile];
  for (int64_t i = 0; i < rows; i += kTile) {
    const int64_t height = i + kTile < rows ? kTile : rows - i;
    for (int64_t j = 0; j < columns; j += kTile) {
      const int64_t width = j + kTile < columns ? kTile : columns - j;
      const E* source = from + i * fromStride + j;
      E* target = to + j * toStride + i;
      if (clash && height == kTile && width == kTile) {
        transposeTile(source, fromStride, kTile, kTile, tile, kTile);
        for (int64_t r = 0; r < kTile; ++r) std::memcpy(target + r * toStride, tile + r * kTile, 64);
      } else {
        transposeTile(source, fromStride, height, width, target, toStride);
      }
    }
  }
}

ANNEAL_KERNELS_END
