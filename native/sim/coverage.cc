#include "coverage.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "program.h"

namespace sim {
namespace {

struct Record {
  std::mutex lock;
  std::string file;
  std::vector<Reached*> kernels;
};
Record& record() {
  static auto* made = new Record;
  return *made;
}

void write() {
  Record& r = record();
  std::lock_guard hold(r.lock);
  FILE* out = std::fopen(r.file.c_str(), "a");
  if (!out) return;
  for (const Reached* k : r.kernels) {
    const auto list = [&](const char* name, bool all) {
      std::fprintf(out, "\"%s\":[", name);
      const char* comma = "";
      for (size_t i = 0; i < k->lines.size(); ++i)
        if (k->lines[i] && (all || k->flags[i].load(std::memory_order_relaxed))) std::fprintf(out, "%s%u", comma, k->lines[i]), comma = ",";
      std::fprintf(out, "]");
    };
    std::fprintf(out, "{\"kernel\":\"%s\",", k->kernel.c_str());
    list("lines", true);
    std::fprintf(out, ",");
    list("reached", false);
    std::fprintf(out, "}\n");
  }
  std::fclose(out);
}

}  // namespace

void recordCoverage(const std::string& file) {
  Record& r = record();
  std::lock_guard hold(r.lock);
  if (r.file.empty()) std::atexit(write);
  r.file = file;
}

std::atomic<uint8_t>* watch(const Program& program) {
  Record& r = record();
  std::lock_guard hold(r.lock);
  if (r.file.empty()) return nullptr;
  auto* k = new Reached{program.name, {}, std::vector<std::atomic<uint8_t>>(program.code.size())};
  for (size_t i = 0; i < program.code.size(); ++i) k->lines.push_back(i < program.sources.size() ? program.sources[i].line : 0);
  r.kernels.push_back(k);
  return k->flags.data();
}

}  // namespace sim
