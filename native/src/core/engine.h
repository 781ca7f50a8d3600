// What a stream's thread does for the device that the stream belongs to.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/call.h"

namespace anneal {

class Event;

/** One per stream. All methods but the destructor run on the stream's thread. */
class Engine {
 public:
  virtual ~Engine() = default;
  /** Called once, before all else. */
  virtual void enter() = 0;
  /** Runs the call's kernel, or starts it. */
  virtual void execute(const Call& call) = 0;
  /** Returns when all that was started is done. Throws what it raised meanwhile. */
  virtual void finish() {}
  virtual void copyIn(void* to, const void* from, size_t bytes) = 0;
  /** The bytes are there when it returns. */
  virtual void copyOut(void* to, const void* from, size_t bytes) = 0;
  /** Where `Backing::watches`: a block is now a tensor's, of so many bytes. */
  virtual void lend(void*, int64_t) {}
  /** Order between streams of one device beyond what their threads have in common. */
  virtual void record(Event&) {}
  virtual void wait(const Event&) {}
  /** Does a call that has run mean work that is done? If not, `finish` tells. */
  virtual bool asynchronous() const { return false; }

  // For profiles. A mark is a point in the device's own time; null where the host's clock tells.
  virtual void* mark() { return nullptr; }
  /** Nanoseconds from a mark to a later one, after `finish`. */
  virtual int64_t between(void*, void*) { return 0; }
  virtual void unmark(void*) {}
};

/** An error that belongs to an earlier call than the one in hand. */
struct LateError : std::runtime_error {
  LateError(const std::string& what, const Op* op, uint64_t sequence) : std::runtime_error(what), op(op), sequence(sequence) {}
  const Op* op;
  uint64_t sequence;
};

/** Where a device's memory comes from. On the JavaScript thread, except `give`, which also runs on the stream's. */
class Backing {
 public:
  virtual ~Backing() = default;
  /** Null where the device refuses. */
  virtual char* take(int64_t bytes) = 0;
  virtual void give(char* data, int64_t bytes) = 0;
  /** Can a piece of that size be given back? One cut from a slab stays in the cache. */
  virtual bool returns(int64_t) const { return true; }
  /** Does the device watch each tensor's bounds, inside the block that it was given? */
  virtual bool watches() const { return false; }
  /** Bytes that live tensors may hold unless the user says otherwise. */
  virtual int64_t limit() const = 0;
};

}  // namespace anneal
