// A module: its variables in memory, its kernels decoded when first asked for.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "coverage.h"
#include "decode.h"
#include "launch.h"

namespace sim {
namespace {

class LoadedModule;

class LoadedKernel final : public Kernel {
 public:
  LoadedKernel(const ptx::Unit& unit, const Symbols& symbols, const ptx::Function& function) : unit_(unit), symbols_(symbols), function_(function) {
    program_.name = std::string(function.name);
    program_.unit = &unit;
    uint32_t at = 0;
    for (const ptx::Variable& v : function.parameters) {
      uint32_t align = std::max(1u, v.align);
      at = (at + align - 1) / align * align;
      program_.parameters.push_back({at, uint32_t(v.bytes)});
      at += uint32_t(v.bytes);
    }
    program_.parameterBytes = at;
  }
  const std::string& name() const override { return program_.name; }
  size_t parameterCount() const override { return program_.parameters.size(); }
  size_t parameterSize(size_t i) const override { return program_.parameters.at(i).bytes; }
  size_t parameterOffset(size_t i) const override { return program_.parameters.at(i).offset; }
  uint32_t staticShared() const override { return decoded().staticShared; }
  uint32_t registers() const override { return decoded().registersAlive; }
  uint32_t localBytes() const override { return decoded().localBytes; }
  uint32_t maxThreads() const override { return program_.maxThreads ? program_.maxThreads : function_.maxThreads ? function_.maxThreads : 1024; }
  void decode() const override { decoded(); }
  Counters launch(const LaunchOptions& options, void* const* parameters, Memory& memory, int threads) const override {
    const Program& p = decoded();
    std::vector<char> values(p.parameterBytes + 16);
    for (size_t i = 0; i < p.parameters.size(); ++i) std::memcpy(values.data() + p.parameters[i].offset, parameters[i], p.parameters[i].bytes);
    return runGrid(p, options, values.data(), memory, threads);
  }

 private:
  const Program& decoded() const {
    std::call_once(once_, [this] {
      Program p = program_;
      Builder builder(unit_, symbols_, p);
      builder.build(function_);
      allocate(p, builder.widths(), builder.specialRegisters);
      p.reached = watch(p);
      program_ = std::move(p);
    });
    return program_;
  }
  const ptx::Unit& unit_;
  const Symbols& symbols_;
  const ptx::Function& function_;
  mutable Program program_;
  mutable std::once_flag once_;
};

class LoadedModule final : public Module {
 public:
  LoadedModule(std::string_view text, Memory& memory) : memory_(memory), unit_(ptx::parseUnit(std::string(text))) {
    for (const ptx::Variable& v : unit_.variables) place(v);
    for (const ptx::Variable& v : unit_.variables) initialise(v);
    for (auto& [name, f] : unit_.functions)
      if (f.isEntry) kernels_[std::string(name)] = std::make_unique<LoadedKernel>(unit_, symbols_, f);
  }
  ~LoadedModule() override {
    for (void* p : allocations_) memory_.free(p);
  }
  const Kernel* kernel(std::string_view name) const override {
    auto it = kernels_.find(name);
    return it == kernels_.end() ? nullptr : it->second.get();
  }
  std::vector<std::string> kernelNames() const override {
    std::vector<std::string> names;
    for (auto& [name, k] : kernels_) names.push_back(name);
    return names;
  }
  void* global(std::string_view name, size_t* bytes) const override {
    auto it = symbols_.find(name);
    if (it == symbols_.end()) return nullptr;
    if (bytes) *bytes = it->second.size;
    return reinterpret_cast<void*>(it->second.address);
  }

 private:
  void place(const ptx::Variable& v) {
    if (v.space == "shared") return;
    if (v.isExtern) throw Fault("variable " + std::string(v.name) + " is extern and defined nowhere");
    void* p = memory_.allocate(v.bytes);
    if (!p) throw Fault("no memory for variable " + std::string(v.name));
    allocations_.push_back(p);
    std::memset(p, 0, v.bytes);
    memory_.markWritten(p, v.bytes);
    Symbol symbol{};
    symbol.kind = Symbol::Variable;
    symbol.space = v.space == "const" ? Space::Const : Space::Global;
    symbol.address = uint64_t(p);
    symbol.size = v.bytes;
    symbols_[v.name] = symbol;
  }
  void initialise(const ptx::Variable& v) {
    auto it = symbols_.find(v.name);
    if (v.initial.empty() || it == symbols_.end()) return;
    char* to = reinterpret_cast<char*>(it->second.address);
    size_t n = size_t(ptx::sizeOf(v.type));
    if (v.initial.size() * n > v.bytes) throw Fault("variable " + std::string(v.name) + " has too many initial values");
    for (const ptx::Operand& o : v.initial) {
      uint64_t value = uint64_t(o.value);
      if (o.kind == ptx::Operand::Name) {
        auto named = symbols_.find(o.name);
        if (named == symbols_.end()) throw Fault("the initial value of " + std::string(v.name) + " names '" + std::string(o.name) + "', which is not supported");
        value += named->second.address;
      }
      std::memcpy(to, &value, n);
      to += n;
    }
  }
  Memory& memory_;
  ptx::Unit unit_;
  Symbols symbols_;
  std::map<std::string, std::unique_ptr<LoadedKernel>, std::less<>> kernels_;
  std::vector<void*> allocations_;
};

}  // namespace

std::unique_ptr<Module> loadModule(std::string_view ptx, Memory& memory) { return std::make_unique<LoadedModule>(ptx, memory); }

}  // namespace sim
