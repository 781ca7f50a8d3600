// The CPU as a device: engines whose kernels run on the stream's own thread, memory from the system.
#pragma once
#include <memory>

#include "core/engine.h"

namespace anneal {

std::unique_ptr<Engine> makeHostEngine();
std::unique_ptr<Backing> makeHostBacking();

}  // namespace anneal
