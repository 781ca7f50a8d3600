#include "core/environment.h"

#include <cmath>

#include "core/host.h"

namespace anneal {
namespace {

constexpr double kSlots = 1 << 24;
constexpr int64_t kMostBytes = int64_t{1} << 50;

void freeList(TensorList* list) {
  delete[] list->views;
  delete[] list->perRow;
  delete list;
}

/** Queued calls may still read the list. */
struct FreeList final : Work {
  explicit FreeList(TensorList* l) : list(l) {}
  ~FreeList() override { freeList(list); }
  void run() override {}
  TensorList* list;
};

}  // namespace

Environment::Environment() {
  slots_.reserve(1 << 12);
  add(0, std::make_unique<Device>(DeviceKind::cpu, "cpu", makeHostBacking(), makeHostEngine));
}

void Environment::add(int number, std::unique_ptr<Device> device) {
  if (number >= static_cast<int>(devices_.size())) devices_.resize(number + 1);
  devices_[number] = std::move(device);
}

Device& Environment::device(int number) {
  if (!has(number)) throw BadHandle("no such device here");
  return *devices_[number];
}

Environment::~Environment() {
  abandon();
  for (Slot& s : slots_) {
    if (!s.references) continue;
    if (s.list) {
      freeList(s.list);
      delete s.kept;
    } else {
      device(s.device).memory().release(s.block);
    }
  }
}

void Environment::abandon() {
  // Streams may wait for each other's events: tell all before joining any.
  for (auto& d : devices_)
    if (d) d->stop();
  for (auto& d : devices_)
    if (d) d->abandon();
}

double Environment::take(Slot*& slot) {
  uint32_t index;
  if (free_.empty()) {
    if (slots_.size() >= static_cast<size_t>(kSlots) - 1) throw OutOfMemory("16 million tensors are alive. Wrap the loop's body in scope(() => ...).");
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  slot = &slots_[index];
  slot->references = 1;
  ++live_;
  return slot->generation * kSlots + index + 1;
}

double Environment::create(int64_t bytes, const char* forOp, int on, StreamId stream) {
  if (bytes < 0 || bytes > kMostBytes) throw OutOfMemory(std::string(forOp) + ": asked for a number of bytes that no machine has");
  Block block = device(on).allocate(bytes, forOp, stream);
  Slot* slot;
  const double handle = take(slot);
  slot->block = block;
  slot->device = on;
  return handle;
}

Environment::Slot& Environment::find(double handle) {
  const double generation = std::floor((handle - 1) / kSlots), index = handle - 1 - generation * kSlots;
  if (!(handle >= kSlots) || index >= static_cast<double>(slots_.size())) throw BadHandle("not a tensor handle");
  Slot& slot = slots_[static_cast<size_t>(index)];
  if (!slot.references || slot.generation != generation) throw BadHandle("this tensor was freed");
  return slot;
}

double Environment::createList(int rows, int columns, const double* operands, const double* perRow, int on) {
  auto list = std::make_unique<TensorList>();
  auto views = std::make_unique<View[]>(rows * columns);
  auto kept = std::make_unique<std::vector<double>>();
  for (int i = 0; i < rows * columns; ++i) {
    const double* o = operands + 4 * i;
    if (o[0] == 0) { views[i] = {nullptr, 0, DType::f32}; continue; }
    views[i] = view(o[0], o[1], o[2], o[3], StreamId::compute, on);
    kept->push_back(o[0]);
  }
  for (double h : *kept) retain(h);
  list->rows = rows;
  list->columns = columns;
  list->views = views.release();
  list->perRow = new double[rows + 1]();
  for (int i = 0; i < rows; ++i) list->perRow[i] = perRow ? perRow[i] : 0;
  Slot* slot;
  const double handle = take(slot);
  slot->list = list.release();
  slot->device = on;
  slot->kept = kept.release();
  return handle;
}

View Environment::view(double handle, double offset, double n, double dtype, StreamId stream, int on) {
  Slot& slot = find(handle);
  if (slot.device != on) throw BadHandle("this tensor is on another device than the call");
  if ((dtype == kListDType) != (slot.list != nullptr)) throw BadHandle("a tensor list stands where a tensor belongs, or the reverse");
  if (slot.list) return {slot.list, slot.list->rows, DType::f32};
  const int type = static_cast<int>(dtype);
  if (type < 0 || type >= kDTypes) throw BadHandle("not a dtype");
  const double bytes = n * static_cast<double>(sizeOf(static_cast<DType>(type)));
  if (!(offset >= 0 && n >= 0 && offset + bytes <= static_cast<double>(slot.block.bytes))) throw BadHandle("operand reaches past its tensor's memory");
  if (stream != StreamId::compute) slot.block.streams |= 1 << static_cast<int>(stream);
  return {slot.block.data + static_cast<int64_t>(offset), static_cast<int64_t>(n), static_cast<DType>(type)};
}

void Environment::retain(double handle) { ++find(handle).references; }

void Environment::release(double handle) {
  Slot& slot = find(handle);
  if (--slot.references) return;
  drop(slot, static_cast<uint32_t>(&slot - slots_.data()));
}

void Environment::drop(Slot& slot, uint32_t index) {
  --live_;
  slot.generation = slot.generation == (1u << 28) ? 1 : slot.generation + 1;
  if (!slot.list) {
    device(slot.device).memory().release(slot.block);
    free_.push_back(index);
    return;
  }
  device(slot.device).stream(StreamId::compute).enqueueRelease(std::make_unique<FreeList>(slot.list));
  std::vector<double>* kept = slot.kept;
  slot.list = nullptr;
  slot.kept = nullptr;
  free_.push_back(index);
  for (double h : *kept) release(h);
  delete kept;
}

}  // namespace anneal
