// The arguments from Python. The fields must match `_Problem` in kernel.py.
#pragma once

#include <cstdint>

namespace vidtldr {

enum Score : int32_t { NONE = 0, SHARPNESS = 1, SHARPNESS_PER_HEAD = 2, RECEIVED = 3 };
enum Products : int32_t { FLOAT32 = 0, BFLOAT16 = 1, FLOAT16 = 2, NATIVE_BFLOAT16 = 3 };

// Result of a call.
enum Outcome : int { DONE = 0, FAILED = 1 };

// Strides are in elements; the channels of a row are contiguous.
struct Rows {
  const void* data;
  int64_t clip_stride, head_stride, row_stride;

  template <typename Stored>
  const Stored* at(int64_t clip, int64_t head, int64_t row = 0) const {
    return static_cast<const Stored*>(data) + clip * clip_stride + head * head_stride +
           row * row_stride;
  }
};

struct Problem {
  Rows q, k, v;       // (B, H, N, D)
  void* x;            // (B, N, H, D), contiguous, or null
  const float* mass;  // (B, N), or null
  float* score;       // (B, N), or null
  void* workspace;    // of `vidtldr_workspace_bytes` bytes
  int64_t clips, heads, tokens, channels;
  int64_t rows;  // per block
  int32_t products, score_kind, threads;
  float scale;

  // Width of a row of logits. One vector extra, as rows a power of two apart share cache lines.
  int64_t width() const;
};

}  // namespace vidtldr
