// driver_test            lists the tests
// driver_test <name>     runs one, in a process of its own: contexts, faults and settings are the process's
#include <fstream>
#include <iterator>

#include "test.h"

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

CUcontext start(int device) {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuDevicePrimaryCtxRetain(&context, device));
  OK(cuCtxSetCurrent(context));
  return context;
}

std::string kernelsText() {
  const char* path = std::getenv("DRIVER_KERNELS");
  std::ifstream file(path ? path : "kernels.ptx");
  CHECK(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

CUfunction kernel(const char* name) {
  static CUmodule modules[16] = {};
  CUdevice device = 0;
  OK(cuCtxGetDevice(&device));
  if (!modules[device]) OK(cuModuleLoadData(&modules[device], kernelsText().c_str()));
  CUfunction f = nullptr;
  OK(cuModuleGetFunction(&f, modules[device], name));
  return f;
}

CUstream stream(unsigned flags) {
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, flags));
  return s;
}
CUevent event(unsigned flags) {
  CUevent e = nullptr;
  OK(cuEventCreate(&e, flags));
  return e;
}
CUdeviceptr room(size_t count) {
  CUdeviceptr p = 0;
  OK(cuMemAlloc_v2(&p, count * 4));
  return p;
}
CUdeviceptr ints(const std::vector<int>& values) {
  const CUdeviceptr p = room(values.size());
  OK(cuMemcpyHtoD_v2(p, values.data(), values.size() * 4));
  return p;
}
std::vector<int> read(CUdeviceptr p, size_t count) {
  std::vector<int> out(count);
  OK(cuMemcpyDtoH_v2(out.data(), p, count * 4));
  return out;
}
void fill(CUdeviceptr p, int value, int count, CUstream s) {
  void* parameters[] = {&p, &value, &count};
  OK(cuLaunchKernel(kernel("fill"), static_cast<unsigned>(count + 127) / 128, 1, 1, 128, 1, 1, 0, s, parameters, nullptr));
}
void add(CUdeviceptr to, CUdeviceptr from, int count, CUstream s) {
  void* parameters[] = {&to, &from, &count};
  OK(cuLaunchKernel(kernel("add"), static_cast<unsigned>(count + 127) / 128, 1, 1, 128, 1, 1, 0, s, parameters, nullptr));
}
void slow(CUdeviceptr p, CUstream s) {
  int n = rounds;
  void* parameters[] = {&p, &n};
  OK(cuLaunchKernel(kernel("slow"), 1, 1, 1, 1, 1, 1, 0, s, parameters, nullptr));
}

int main(int count, char** arguments) {
  for (const Test& t : tests()) {
    if (count < 2) std::puts(t.name);
    else if (std::strcmp(t.name, arguments[1]) == 0) {
      t.run();
      std::puts("ok");
      return 0;
    }
  }
  return count < 2 ? 0 : 2;
}
