// Memory owned by the caller, so that profiling its allocator shows what a call takes.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace vidtldr {

// Hands out the memory in parts; without memory it only counts their size.
class Workspace {
  char* const memory;
  int64_t used = 0;

 public:
  explicit Workspace(void* owned) : memory(static_cast<char*>(owned)) {}

  template <typename T>
  T* take(int64_t count) {
    char* const part = memory ? memory + used : nullptr;
    used += padded(count * sizeof(T), 64);
    return reinterpret_cast<T*>(part);
  }

  int64_t num_bytes() const { return used; }
};

}  // namespace vidtldr
