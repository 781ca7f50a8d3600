// Which instructions a process has executed: what tests reach of a kernel, and what they do not.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace sim {

struct Program;

/** A flag per instruction of one kernel. Lives until the process ends. */
struct Reached {
  std::string kernel;
  std::vector<uint32_t> lines;  // of the PTX, beside the flags
  std::vector<std::atomic<uint8_t>> flags;
};

/** From now on kernels that are decoded are watched, and when the process ends the file gets a line of JSON for each: its instructions' lines, and those reached. */
void recordCoverage(const std::string& file);
/** The flags of a program just decoded; null where nobody records. */
std::atomic<uint8_t>* watch(const Program& program);

}  // namespace sim
