// The op table: every op's name and kind, and the kernels that this machine's instruction set provides.
#pragma once
#include <string_view>
#include <vector>

#include "core/call.h"

namespace anneal {

class OpTable {
 public:
  /** Declares an op; ids count up in the order of declaration. */
  void declare(const char* name, const char* kind);
  /** Gives a declared op its kernel. Unknown and repeated names are programming errors and throw. */
  void cpu(std::string_view name, Kernel kernel) { give(name, DeviceKind::cpu, kernel); }
  void cuda(std::string_view name, Kernel launcher) { give(name, DeviceKind::cuda, launcher); }
  const std::vector<Op>& rows() const { return rows_; }

 private:
  void give(std::string_view name, DeviceKind kind, Kernel kernel);
  std::vector<Op> rows_;
};

}  // namespace anneal
