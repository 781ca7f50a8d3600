// What is there and how it stands: memory, queues, threads, ops, processors, GPUs.
#include <dlfcn.h>

#include <fstream>

#include "binding/binding.h"
#include "binding/errors.h"
#include "binding/settlement.h"
#include "core/executor.h"
#include "cuda/gpu.h"

namespace anneal {

/** memory(device, resetPeak?) */
Napi::Value Binding::memory(const Napi::CallbackInfo& info) {
  Allocator& memory = environment_->device(deviceOf(info, 0)).memory();
  if (info.Length() > 1 && info[1].ToBoolean()) memory.resetPeak();
  const MemoryStats stats = memory.stats();
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("live", static_cast<double>(stats.live));
  o.Set("cached", static_cast<double>(stats.cached));
  o.Set("peak", static_cast<double>(stats.peak));
  o.Set("limit", static_cast<double>(stats.limit));
  o.Set("handles", static_cast<double>(environment_->handles()));
  return o;
}

Napi::Value Binding::setMemoryLimit(const Napi::CallbackInfo& info) {
  environment_->device(deviceOf(info, 0)).memory().setLimit(static_cast<int64_t>(number(info, 1)));
  return info.Env().Undefined();
}

Napi::Value Binding::trim(const Napi::CallbackInfo& info) {
  environment_->device(deviceOf(info, 0)).memory().trim();
  return info.Env().Undefined();
}

Napi::Value Binding::threads(const Napi::CallbackInfo& info) {
  if (info.Length()) Executor::setThreads(static_cast<int>(number(info, 0)));
  return Napi::Number::New(info.Env(), Executor::threads());
}

/** open(device) -> { name, computeCapability, multiprocessors, memory, driver, driverVersion, simulated }: makes GPU device - 1 usable here. */
Napi::Value Binding::open(const Napi::CallbackInfo& info) {
  const int number = deviceOf(info, 0), ordinal = number - 1;
  cuda::Gpu& gpu = cuda::Gpu::at(ordinal);
  if (!environment_->has(number))
    environment_->add(number, std::make_unique<Device>(DeviceKind::cuda, "cuda:" + std::to_string(ordinal), gpu.backing(), [&] { return cuda::makeEngine(gpu); }));
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("name", gpu.name);
  o.Set("computeCapability", gpu.computeCapability / 10.0);
  o.Set("multiprocessors", gpu.processors);
  o.Set("memory", static_cast<double>(gpu.totalBytes));
  o.Set("driver", gpu.driver.path);
  o.Set("driverVersion", gpu.driver.version / 1000 + gpu.driver.version % 1000 / 100.0);
  o.Set("simulated", gpu.driver.simulated());
  return o;
}

/** library(name): undefined where the dynamic linker finds it, or its words. */
Napi::Value Binding::library(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  if (void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) {
    dlclose(handle);
    return info.Env().Undefined();
  }
  return Napi::String::New(info.Env(), dlerror());
}

/** The CUDA kernels of this build: how many, and whether machine code is there beside PTX. */
Napi::Value Binding::kernels(const Napi::CallbackInfo& info) {
  Napi::Object o = Napi::Object::New(info.Env());
  int count = 0;
  bool compiled = false;
  try {
    const cuda::KernelIndex& index = cuda::kernelIndex();
    count = static_cast<int>(index.familyOf.size());
    compiled = std::ifstream(index.folder + "/" + index.familyOf.begin()->second + ".fatbin").good();
  } catch (const cuda::Unavailable& e) {
    o.Set("missing", e.what());
  }
  o.Set("count", count);
  o.Set("machineCode", compiled);
  return o;
}

/** The op table, and what the processor offers. */
Napi::Value Binding::info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const CpuFeatures& f = cpuFeatures();
  Napi::Array ops = Napi::Array::New(env);
  for (const Op& row : table().rows()) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("name", row.name);
    o.Set("kind", row.kind);
    for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda}) o.Set(nameOf(kind), row.on(kind) != nullptr);
    ops.Set(ops.Length(), o);
  }
  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("isa", f.isa);
  cpu.Set("avx2", f.avx2);
  cpu.Set("avx512", f.avx512);
  cpu.Set("bf16", f.bf16);
  cpu.Set("amxBf16", f.amxBf16);
  cpu.Set("available", Executor::available());
  Napi::Object o = Napi::Object::New(env);
  o.Set("ops", ops);
  o.Set("cpu", cpu);
  return o;
}

Napi::Value Binding::queues(const Napi::CallbackInfo& info) {
  Napi::Array result = Napi::Array::New(info.Env());
  for (int i = 0; i < kStreams; ++i) {
    Stream& s = environment_->device(deviceOf(info, 0)).stream(static_cast<StreamId>(i));
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("name", s.name());
    o.Set("enqueued", static_cast<double>(s.enqueued()));
    o.Set("completed", static_cast<double>(s.completed()));
    o.Set("timesFull", static_cast<double>(s.timesFull()));
    result.Set(static_cast<uint32_t>(i), o);
  }
  return result;
}

}  // namespace anneal
