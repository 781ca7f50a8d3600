// Element types and their storage. The order is lib/tensor/dtype.ts's.
#pragma once
#include <cstddef>
#include <cstdint>

namespace anneal {

enum class DType : uint8_t { f32, f16, bf16, f64, i32, u8, boolean };
constexpr int kDTypes = 7;

constexpr size_t sizeOf(DType t) {
  constexpr size_t sizes[kDTypes] = {4, 2, 2, 8, 4, 1, 1};
  return sizes[static_cast<int>(t)];
}

constexpr const char* nameOf(DType t) {
  constexpr const char* names[kDTypes] = {"f32", "f16", "bf16", "f64", "i32", "u8", "bool"};
  return names[static_cast<int>(t)];
}

}  // namespace anneal
