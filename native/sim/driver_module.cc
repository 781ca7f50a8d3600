// Modules: PTX is executed as it stands; a fatbin (whose cubins cannot be) stands for a PTX file that carries its hash.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "driver.h"

SIM_EXPORT const char* annealSimLastError();

namespace sim::driver {

Table<CUmodule, LoadedModule>& modules() {
  static auto* made = new Table<CUmodule, LoadedModule>;
  return *made;
}
Table<CUfunction, Function>& functions() {
  static auto* made = new Table<CUfunction, Function>;
  return *made;
}
std::shared_ptr<Function> functionAt(CUfunction handle) { return functions().find(handle); }

LoadedModule::~LoadedModule() {
  std::lock_guard alone(context->device.traffic);  // its global variables are unmapped
  module = nullptr;
}

namespace {

CUresult refuse(CUresult result, const std::string& why) {
  setLastFault(why);
  return fail(result, why);
}

bool readFile(const std::string& path, std::string* text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text->assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

std::string hashOf(const char* data, size_t bytes) {
  uint64_t h = 0xcbf29ce484222325;
  for (size_t i = 0; i < bytes; ++i) h = (h ^ static_cast<unsigned char>(data[i])) * 0x100000001b3;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(h));
  return text;
}

constexpr uint32_t kFatbin = 0xBA55ED50, kWrapper = 0x466243b1, kElf = 0x464c457f;

/** The PTX of a fatbin: one of the files of ANNEAL_SIM_PTX (split at ':') begins with "// fatbin fnv1a64 <hash>". */
CUresult ptxOfFatbin(const char* image, std::string* text) {
  uint16_t header;
  uint64_t body;
  std::memcpy(&header, image + 6, sizeof header);
  std::memcpy(&body, image + 8, sizeof body);
  const std::string hash = hashOf(image, header + body), mark = "// fatbin fnv1a64 " + hash;
  const char* files = std::getenv("ANNEAL_SIM_PTX");
  if (!files || !*files)
    return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "the simulated GPU runs PTX, and this is a fatbin: load the PTX itself, or let ANNEAL_SIM_PTX name a PTX file whose first line is \"" + mark + "\"");
  std::string found, rest = files;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string path = rest.substr(0, colon);
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    if (!readFile(path, text)) return refuse(CUDA_ERROR_FILE_NOT_FOUND, "ANNEAL_SIM_PTX: " + path + " cannot be read");
    std::string first = text->substr(0, text->find_first_of("\r\n"));
    if (first.substr(0, first.find_last_not_of(" \t") + 1) == mark) return CUDA_SUCCESS;
    found += (found.empty() ? "" : ", ") + path + " begins with \"" + first.substr(0, 60) + "\"";
  }
  return refuse(CUDA_ERROR_INVALID_IMAGE, "the fatbin's hash is " + hash + ", and no file of ANNEAL_SIM_PTX was made together with it: " + found + ". Build the kernels again: fatbin and PTX must come from one call of nvcc");
}

CUresult textOf(const void* image, std::string* text) {
  SIM_NEED(image, CUDA_ERROR_INVALID_VALUE, "image is null");
  const char* bytes = static_cast<const char*>(image);
  if (!bytes[0] || !bytes[1] || !bytes[2]) return refuse(CUDA_ERROR_INVALID_IMAGE, "the image is empty");
  uint32_t magic;
  std::memcpy(&magic, bytes, sizeof magic);
  if (magic == kWrapper) {
    const char* inner;
    std::memcpy(&inner, bytes + 8, sizeof inner);
    return textOf(inner, text);
  }
  if (magic == kFatbin) return ptxOfFatbin(bytes, text);
  if (magic == kElf) return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "the simulated GPU runs PTX, and this is a cubin: compile with nvcc -ptx");
  *text = bytes;
  const size_t version = text->find(".version");
  if (version == std::string::npos) return refuse(CUDA_ERROR_INVALID_IMAGE, "the image is neither PTX (no .version), nor a fatbin");
  return CUDA_SUCCESS;
}

CUresult checkTarget(const std::string& text) {
  const size_t at = text.find(".target");
  const size_t sm = at == std::string::npos ? at : text.find("sm_", at);
  if (sm == std::string::npos) return refuse(CUDA_ERROR_INVALID_PTX, "the PTX names no .target");
  const int target = std::atoi(text.c_str() + sm + 3), have = settings().computeCapability;
  if (target > have)
    return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "the PTX is for sm_" + std::to_string(target) + ", and this simulated GPU is sm_" + std::to_string(have) + " (ANNEAL_SIM_CC)");
  return CUDA_SUCCESS;
}

CUresult load(const std::shared_ptr<Context>& context, const void* image, CUmodule* handle) {
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "module is null");
  auto made = std::make_shared<LoadedModule>();
  made->context = context;
  if (CUresult status = textOf(image, &made->text)) return status;
  if (CUresult status = checkTarget(made->text)) return status;
  try {
    made->module = loadModule(made->text, context->device.memory);
  } catch (const Fault& fault) {
    return refuse(CUDA_ERROR_INVALID_PTX, fault.what());
  } catch (const std::exception& e) {
    return refuse(CUDA_ERROR_OUT_OF_MEMORY, std::string("loading a module: ") + e.what());
  }
  made->handle = *handle = modules().add(made);
  return CUDA_SUCCESS;
}

CUresult findModule(CUmodule handle, std::shared_ptr<LoadedModule>* module) {
  *module = modules().find(handle);
  SIM_NEED(*module, CUDA_ERROR_INVALID_HANDLE, "not a module: unloaded, or never one");
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace sim::driver

using namespace sim::driver;

SIM_EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  SIM_ENTER_CONTEXT(cuModuleLoadData);
  return load(context, image, module);
}
SIM_EXPORT CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  SIM_ENTER_CONTEXT(cuModuleLoadFatBinary);
  return load(context, image, module);
}

/** Of the options, only the error log is heeded: it gets the reason of a failure. */
SIM_EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int count, CUjit_option* options, void** values) {
  SIM_ENTER_CONTEXT(cuModuleLoadDataEx);
  SIM_NEED(count == 0 || (options && values), CUDA_ERROR_INVALID_VALUE, "options are null");
  status = load(context, image, module);
  char* log = nullptr;
  size_t room = 0;
  for (unsigned int i = 0; i < count; ++i) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) room = reinterpret_cast<uintptr_t>(values[i]) & 0xffffffff;
  }
  if (log && room > 0) std::snprintf(log, room, "%s", status ? annealSimLastError() : "");
  return status;
}

SIM_EXPORT CUresult cuModuleLoad(CUmodule* module, const char* file) {
  SIM_ENTER_CONTEXT(cuModuleLoad);
  std::string image;
  SIM_NEED(file && readFile(file, &image), CUDA_ERROR_FILE_NOT_FOUND, "cuModuleLoad: the file cannot be read");
  return load(context, image.c_str(), module);
}

/** What is queued keeps the module alive; its functions' handles end here. */
SIM_EXPORT CUresult cuModuleUnload(CUmodule handle) {
  SIM_ENTER_CONTEXT(cuModuleUnload);
  if ((status = refuseInCapture(*context, "cuModuleUnload"))) return status;
  auto module = modules().remove(handle);
  SIM_NEED(module, CUDA_ERROR_INVALID_HANDLE, "not a module: unloaded, or never one");
  functions().removeIf([&](Function& f) { return f.module == module; });
  drainDevice(module->context->device);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuModuleGetFunction(CUfunction* handle, CUmodule moduleHandle, const char* name) {
  SIM_ENTER_CONTEXT(cuModuleGetFunction);
  SIM_NEED(handle && name, CUDA_ERROR_INVALID_VALUE, "null");
  std::shared_ptr<LoadedModule> module;
  if ((status = findModule(moduleHandle, &module))) return status;
  const sim::Kernel* kernel = nullptr;
  try {
    kernel = module->module->kernel(name);
    if (kernel) kernel->decode();  // an instruction that is not known is told here, not in mid-work
  } catch (const sim::Fault& fault) {
    return refuse(CUDA_ERROR_INVALID_PTX, fault.what());
  }
  SIM_NEED(kernel, CUDA_ERROR_NOT_FOUND, std::string("the module has no kernel ") + name);
  auto function = std::make_shared<Function>();
  function->module = module;
  function->kernel = kernel;
  function->dynamicLimit = std::max(0, (48 << 10) - static_cast<int>(kernel->staticShared()));
  *handle = functions().add(function);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule handle) {
  SIM_ENTER_CONTEXT(cuModuleGetFunctionCount);
  std::shared_ptr<LoadedModule> module;
  if ((status = findModule(handle, &module))) return status;
  SIM_NEED(count, CUDA_ERROR_INVALID_VALUE, "count is null");
  *count = static_cast<unsigned int>(module->module->kernelNames().size());
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* pointer, size_t* bytes, CUmodule handle, const char* name) {
  SIM_ENTER_CONTEXT(cuModuleGetGlobal_v2);
  std::shared_ptr<LoadedModule> module;
  if ((status = findModule(handle, &module))) return status;
  SIM_NEED(name, CUDA_ERROR_INVALID_VALUE, "name is null");
  size_t size = 0;
  void* p = module->module->global(name, &size);
  SIM_NEED(p, CUDA_ERROR_NOT_FOUND, std::string("the module has no variable ") + name);
  if (pointer) *pointer = reinterpret_cast<CUdeviceptr>(p);
  if (bytes) *bytes = size;
  return CUDA_SUCCESS;
}
