// What one JavaScript environment (the main thread, or a worker) owns: its tensors' slots, its streams, its memory. Never shared.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/device.h"
#include "core/table.h"

namespace anneal {

/** A handle that names nothing: freed before, or never given out. */
struct BadHandle : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** In an operand's dtype field: the handle names a tensor list. */
constexpr double kListDType = -1;

class Environment {
 public:
  Environment();
  ~Environment();

  /** Handles are numbers: generation * 2^24 + slot + 1. A freed slot's generation changes, so a stale handle is recognised. */
  double create(int64_t bytes, const char* forOp, int device, StreamId stream = StreamId::compute);
  double createList(int rows, int columns, const double* operands, const double* perRow, int device);
  void retain(double handle);
  void release(double handle);
  /** The operand of `n` elements at `offset` bytes into a block, checked to lie inside it. */
  View view(double handle, double offset, double n, double dtype, StreamId stream, int device);

  /** Number 0 is the CPU; others are there once `add`ed. */
  Device& device(int number);
  void add(int number, std::unique_ptr<Device> device);
  bool has(int number) const { return number >= 0 && number < static_cast<int>(devices_.size()) && devices_[number]; }
  int64_t handles() const { return live_; }
  /** Stops the streams: the current kernels finish, queued ones are dropped. */
  void abandon();

 private:
  struct Slot {
    Block block;
    TensorList* list = nullptr;
    uint32_t generation = 1;
    uint32_t references = 0;
    int device = 0;
    std::vector<double>* kept = nullptr;  // handles that a list holds
  };
  Slot& find(double handle);
  double take(Slot*& slot);
  void drop(Slot& slot, uint32_t index);

  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  int64_t live_ = 0;
};

/** The op table: made once, leaked. Its CPU kernels are those of this machine's instruction set. */
const OpTable& table();

}  // namespace anneal
