// Runs sum.ptx on 1000 numbers. Nothing in it knows of the simulated GPU.
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

static void check(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  const char* text = nullptr;
  cuGetErrorString(result, &text);
  std::fprintf(stderr, "%s: %s\n", what, text);
  std::exit(1);
}

int main(int, char** arguments) {
  std::ifstream file(arguments[1]);
  const std::string ptx{std::istreambuf_iterator<char>(file), {}};
  int n = 1000;
  const int blocks = (n + 255) / 256;
  std::vector<float> x(n, 1), sums(blocks);

  CUdevice device;
  CUcontext context;
  CUmodule module;
  CUfunction sum;
  CUdeviceptr dx, dsums;
  check(cuInit(0), "cuInit");
  check(cuDeviceGet(&device, 0), "cuDeviceGet");
  check(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  check(cuModuleLoadData(&module, ptx.c_str()), "cuModuleLoadData");
  check(cuModuleGetFunction(&sum, module, "sum"), "cuModuleGetFunction");
  check(cuMemAlloc(&dx, n * sizeof(float)), "cuMemAlloc");
  check(cuMemAlloc(&dsums, blocks * sizeof(float)), "cuMemAlloc");
  check(cuMemcpyHtoD(dx, x.data(), n * sizeof(float)), "cuMemcpyHtoD");
  void* parameters[] = {&dx, &dsums, &n};
  check(cuLaunchKernel(sum, blocks, 1, 1, 256, 1, 1, 0, nullptr, parameters, nullptr), "cuLaunchKernel");
  check(cuMemcpyDtoH(sums.data(), dsums, blocks * sizeof(float)), "sum");
  for (const float s : sums) std::printf("%g ", s);
  std::puts("");
}
