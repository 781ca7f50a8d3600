#include "comm/groups.h"

#include <dlfcn.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace anneal::comm {
namespace {

struct Group {
  const Module* module;
  void* mesh;
  Group(const Module* m, void* p) : module(m), mesh(p) {}
  ~Group() { module->close(mesh); }
};

/** Leaked, like all that belongs to the process: a stream may still run while static destructors do. */
struct Groups {
  std::mutex lock;
  const Module* module = nullptr;
  std::map<int, std::shared_ptr<Group>> all;
  int last = 0;
};
Groups& groups() {
  static auto* made = new Groups;
  return *made;
}

std::shared_ptr<Group> find(int id) {
  Groups& g = groups();
  std::lock_guard hold(g.lock);
  const auto it = g.all.find(id);
  return it == g.all.end() ? nullptr : it->second;
}
std::shared_ptr<Group> need(int id) {
  auto group = find(id);
  if (!group) throw std::runtime_error("no such process group");
  return group;
}

}  // namespace

void openModule(const std::string& path) {
  Groups& g = groups();
  std::lock_guard hold(g.lock);
  if (g.module) return;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) throw std::runtime_error(dlerror());
  const auto get = reinterpret_cast<const Module* (*)()>(dlsym(library, "annealCollectives"));
  const Module* module = get ? get() : nullptr;
  if (!module || module->version != kModuleVersion) throw std::runtime_error(path + ": not of this version of the addon");
  g.module = module;
}

int openGroup(int rank, int size, const std::string& host, int64_t timeoutMs) {
  Groups& g = groups();
  std::lock_guard hold(g.lock);
  if (!g.module) throw std::runtime_error("no module of collectives is open");
  char message[kMessage] = {};
  void* mesh = g.module->open(rank, size, host.c_str(), timeoutMs, message);
  if (!mesh) throw std::runtime_error(message);
  g.all[++g.last] = std::make_shared<Group>(g.module, mesh);
  return g.last;
}

std::string toldBy(int id, int index) {
  const auto group = need(id);
  std::string entry(static_cast<size_t>(group->module->told(group->mesh, index, nullptr, 0)), '\0');
  group->module->told(group->mesh, index, entry.data(), static_cast<int>(entry.size()));
  return entry;
}

std::string wantedBy(int id) {
  const auto group = need(id);
  char key[kMessage];
  return group->module->wanted(group->mesh, key, kMessage) ? key : "";
}

void give(int id, const std::string& key, const std::string& value) {
  const auto group = need(id);
  group->module->give(group->mesh, key.c_str(), value.data(), static_cast<int>(value.size()));
}

State stateOf(int id, std::string& message) {
  const auto group = need(id);
  char text[kMessage] = {};
  const State state = group->module->state(group->mesh, text);
  message = text;
  return state;
}

void closeGroup(int id) {
  std::shared_ptr<Group> group;
  {
    Groups& g = groups();
    std::lock_guard hold(g.lock);
    const auto it = g.all.find(id);
    if (it == g.all.end()) return;
    group = std::move(it->second);
    g.all.erase(it);
  }
  group->module->abort(group->mesh);
  // A mesh that is connecting ends when its peers answer or are too late: not while JavaScript waits.
  std::thread([last = std::move(group)]() mutable { last.reset(); }).detach();
}

void abortAll() {
  Groups& g = groups();
  std::lock_guard hold(g.lock);
  for (auto& [id, group] : g.all) group->module->abort(group->mesh);
}

namespace {

/** All tensors of the list in one stretch of memory, so that the ranks talk once about all of them. */
void together(const TensorList& list, Request request, const std::function<void(const Request&)>& run) {
  size_t elements = 0;
  for (int i = 0; i < list.rows; ++i) elements += static_cast<size_t>(list.at(i, 0).n);
  require(list.rows > 0, "collective of no tensors");
  request.dtype = list.at(0, 0).dtype;
  const size_t each = sizeOf(request.dtype);
  thread_local std::vector<char> memory;  // of the comm stream: touched once, then used again at every step
  if (memory.size() < elements * each) memory.resize(elements * each);
  const auto copy = [&](bool back) {
    char* at = memory.data();
    for (int i = 0; i < list.rows; ++i) {
      const View& view = list.at(i, 0);
      require(view.dtype == request.dtype, "collective of several dtypes");
      const size_t bytes = static_cast<size_t>(view.n) * each;
      back ? std::memcpy(view.data, at, bytes) : std::memcpy(at, view.data, bytes);
      at += bytes;
    }
  };
  copy(false);
  request.out = memory.data();
  request.outElements = static_cast<int64_t>(elements);
  run(request);
  copy(true);
}

}  // namespace

void collective(const Call& call) {
  const auto group = find(static_cast<int>(call.integer(0)));
  if (!group) fail("collective: the process group is closed");
  const bool listed = call.flag(6);
  const View in = call.has(0) && !listed ? call.in[0] : View{nullptr, 0, DType::f32};
  const View out = call.hasOut(0) ? call.out[0] : View{nullptr, 0, in.dtype};
  const Request request{static_cast<Kind>(call.integer(1)), static_cast<Reduce>(call.integer(2)), out.data ? out.dtype : in.dtype, in.data, out.data,
                        in.n, out.n, static_cast<int32_t>(call.integer(3)), static_cast<uint32_t>(call.integer(4)), call.integer(5)};
  const auto run = [&](const Request& r) {
    char message[kMessage] = {};
    if (!group->module->run(group->mesh, r, message)) fail(std::string("collective: ") + message);
  };
  listed ? together(call.list(0), request, run) : run(request);
}

}  // namespace anneal::comm
