// The kernels that oneDNN provides: one line per family.
#include "core/table.h"

namespace anneal::cpu {

void registerMatmul(OpTable& t);
void registerConv(OpTable& t);

void registerOneDnn(OpTable& t) {
  registerMatmul(t);
  registerConv(t);
}

}  // namespace anneal::cpu
