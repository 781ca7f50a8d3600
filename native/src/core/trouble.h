// What a kernel on a GPU found wrong in the data, one record per stream. Written by device code (native/cuda), read by its engine.
#pragma once
#include <cstdint>

namespace anneal {

struct Trouble {
  uint32_t code;  // 0: none. What it means, the launch that `call` names knows.
  uint32_t call;
  int64_t a, b;
};

}  // namespace anneal
