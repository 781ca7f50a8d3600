#include "core/table.h"

#include <stdexcept>
#include <string>

namespace anneal {

void OpTable::declare(const char* name, const char* kind) {
  for (const Op& row : rows_)
    if (std::string_view(row.name) == name) throw std::logic_error(std::string("op declared twice: ") + name);
  rows_.push_back({name, kind});
}

void OpTable::give(std::string_view name, DeviceKind kind, Kernel kernel) {
  for (Op& row : rows_) {
    if (name != row.name) continue;
    Kernel& place = row.kernels[static_cast<int>(kind)];
    if (place) throw std::logic_error("op has two kernels on one kind of device: " + std::string(name));
    place = kernel;
    return;
  }
  throw std::logic_error("kernel for an op that the table does not have: " + std::string(name));
}

}  // namespace anneal
