// What carries collectives out: a library of its own behind this table, opened when a program first asks for a process group, so that nobody else needs
// what it stands on. native/gloo is one.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace anneal::comm {

enum class Kind : int32_t { allReduce, broadcast, allGather, reduceScatter, barrier, send, recv };
enum class Reduce : int32_t { sum, max, min };

/** One collective. `n` elements come from `in` (null: `out` is both); `peer` is the root, or the other end. */
struct Request {
  Kind kind;
  Reduce reduce;
  DType dtype;
  const void* in;
  void* out;
  int64_t inElements, outElements;
  int32_t peer;
  /** The same on every rank for one collective, another for each; of messages, on both ends. */
  uint32_t tag;
  int64_t timeoutMs;
};

/** A mesh connects in the background, by way of keys and values that all ranks see: it tells some, asks for others', and some time later is `connected`, or has failed. */
enum class State : int32_t { connecting, connected, failed };

constexpr int kModuleVersion = 1;
constexpr int kMessage = 512;

/** No function throws. Those with a `message` (of kMessage bytes) say there what went wrong. */
struct Module {
  int32_t version;
  /** Listens on `host`; null with a message where that fails. */
  void* (*open)(int rank, int size, const char* host, int64_t timeoutMs, char* message);
  /** The index-th entry that this rank tells: its key, a zero, its value. Its bytes, 0 while there is none; copied to `to` where they fit. */
  int (*told)(void* mesh, int index, char* to, int capacity);
  /** The key that is waited for, and a zero; 0 where none is. */
  int (*wanted)(void* mesh, char* to, int capacity);
  void (*give)(void* mesh, const char* key, const char* value, int bytes);
  State (*state)(void* mesh, char* message);
  /** Blocks until done. False with a message where it failed; then so does all that follows. */
  bool (*run)(void* mesh, const Request& request, char* message);
  /** Wakes whoever waits in `run`, and makes it fail. From any thread. */
  void (*abort)(void* mesh);
  void (*close)(void* mesh);
};

}  // namespace anneal::comm

extern "C" const anneal::comm::Module* annealCollectives();
