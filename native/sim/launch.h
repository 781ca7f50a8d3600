// Running a grid on the host's threads.
#pragma once
#include "warp.h"

namespace sim {

Counters runGrid(const Program& program, const LaunchOptions& options, const char* parameters, Memory& memory, int threads);

}  // namespace sim
