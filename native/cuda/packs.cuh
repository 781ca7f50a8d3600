// Packs in memory.
#pragma once
#include <cstring>

#include "cuda/common.cuh"

namespace anneal::gpu {

/** A whole pack. 16 bytes by a store of their own: left to the compiler, some are cut into single elements again. */
template <class T, int N> ANNEAL_FN void putPack(T* to, const Pack<T, N>& p) {
  if constexpr (sizeof(Pack<T, N>) == 16) {
    uint4 v;
    memcpy(&v, &p, 16);
    asm volatile("st.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
  } else *reinterpret_cast<Pack<T, N>*>(to) = p;
}
template <class T> ANNEAL_FN Pack<T> packAt(const T* p) { return *reinterpret_cast<const Pack<T>*>(p); }

}  // namespace anneal::gpu
