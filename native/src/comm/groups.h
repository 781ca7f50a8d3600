// Process groups of this process: each a mesh of the module that was opened. Numbers, not pointers, cross to JavaScript.
#pragma once
#include <string>
#include <vector>

#include "comm/module.h"
#include "core/call.h"

namespace anneal::comm {

/** Opens the library once. Throws std::runtime_error with the dynamic linker's words. */
void openModule(const std::string& path);
int openGroup(int rank, int size, const std::string& host, int64_t timeoutMs);
/** The index-th entry that this rank tells the others, key and value with a zero between them; empty while there is none. */
std::string toldBy(int group, int index);
/** The key that the group waits for; empty where it waits for none. */
std::string wantedBy(int group);
void give(int group, const std::string& key, const std::string& value);
/** What went wrong, where the state is `failed`. */
State stateOf(int group, std::string& message);
/** Wakes a collective that waits, makes it and all later ones fail, and frees the group once none runs. */
void closeGroup(int group);
/** At the end of the process: no stream may wait for a peer any longer. */
void abortAll();

/** The kernel of op `collective`: attributes group, kind, reduction, peer, sequence number, timeout in milliseconds, whether its input is a list that is reduced as one. */
void collective(const Call& call);

}  // namespace anneal::comm
