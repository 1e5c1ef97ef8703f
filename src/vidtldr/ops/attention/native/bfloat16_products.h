// Both products of attention with the processor's bfloat16 instructions (AMX, AVX512), through the
// kernel that torch's own fused attention uses on AMX. Sums are float32.
//
// Letters: N tokens, D channels a head, R query rows of a block.
#pragma once

#include "problem.h"
#include "vectors.h"
#include "workspace.h"

// Declared, not included: torch's headers would take longer to compile than everything else. If a
// torch version declares them differently, the library does not load, and attention falls back.
namespace c10 {
struct BFloat16;
}
namespace at::native::cpublas {
void brgemm(int64_t rows, int64_t columns, int64_t depth, int64_t a_stride, int64_t b_stride,
            int64_t c_stride, bool add, const c10::BFloat16* a, const c10::BFloat16* b, float* c,
            bool is_in_pairs);
void brgemm_release(bool is_in_pairs);
}  // namespace at::native::cpublas

namespace vidtldr {

// Keys per product. oneDNN builds and keeps a kernel for each shape and stride, so each new number
// of tokens costs a few of them.
constexpr int KEYS_OF_A_PRODUCT = 512;

// c (rows x columns) = a (rows x depth) b, or += if `add`. Each two rows of `b` are interleaved,
// element by element, in one row of twice the stride; the depth is even.
inline void multiply_pairs(int64_t rows, int64_t columns, int64_t depth, const uint16_t* a,
                           int64_t a_stride, const uint16_t* b, int64_t b_stride, float* c,
                           int64_t c_stride, bool add) {
#ifdef VIDTLDR_EMULATE_BFLOAT16  // so that a test can run the rest on any processor
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      float total = add ? c[i * c_stride + j] : 0.0f;
      for (int64_t k = 0; k < depth; k++)
        total += from_bfloat16(a[i * a_stride + k]) *
                 from_bfloat16(b[(k / 2 * b_stride + j) * 2 + k % 2]);
      c[i * c_stride + j] = total;
    }
#else
  at::native::cpublas::brgemm(rows, columns, depth, a_stride, b_stride, c_stride, add,
                              reinterpret_cast<const c10::BFloat16*>(a),
                              reinterpret_cast<const c10::BFloat16*>(b), c, true);
#endif
}

inline void release_kernels() {
#ifndef VIDTLDR_EMULATE_BFLOAT16
  at::native::cpublas::brgemm_release(true);
#endif
}

class BFloat16Products {
  const Problem& p;
  const int64_t width = p.width(), x_width = padded(p.channels, PANEL);
  const int64_t depth = padded(p.channels, 2), num_keys = padded(p.tokens, 2);
  uint16_t *const keys, *const values;  // all heads', in pairs of channels and of tokens

 public:
  using Numbers = BFloat16;
  using Weight = uint16_t;

  BFloat16Products(const Problem& problem, Workspace& workspace)
      : p(problem),
        keys(workspace.take<uint16_t>(p.clips * p.heads * num_keys * depth)),
        values(workspace.take<uint16_t>(p.x ? p.clips * p.heads * num_keys * p.channels : 0)) {}

  int64_t num_query_floats(int64_t rows) const { return padded(rows * depth, 2) / 2; }

  void pack(int64_t clip, int64_t head) {
    uint16_t* key = keys + (clip * p.heads + head) * num_keys * depth;
    for (int64_t n = 0; n < num_keys; n++)
      for (int64_t d = 0; d < depth; d++)
        key[(d / 2 * num_keys + n) * 2 + d % 2] =
            n < p.tokens && d < p.channels ? p.k.at<uint16_t>(clip, head, n)[d] : 0;
    if (!p.x) return;
    uint16_t* value = values + (clip * p.heads + head) * num_keys * p.channels;
    for (int64_t n = 0; n < num_keys; n++)
      for (int64_t d = 0; d < p.channels; d++)
        value[(n / 2 * p.channels + d) * 2 + n % 2] =
            n < p.tokens ? p.v.at<uint16_t>(clip, head, n)[d] : 0;
  }

  void multiply_with_keys(int64_t clip, int64_t head, int64_t start, int64_t rows, float* scratch,
                          float* logits) const {
    uint16_t* queries = reinterpret_cast<uint16_t*>(scratch);
    const uint16_t sign = p.scale < 0 ? 0x8000 : 0;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t d = 0; d < depth; d++)
        queries[i * depth + d] =
            d < p.channels ? p.q.at<uint16_t>(clip, head, start + i)[d] ^ sign : 0;
    const uint16_t* key = keys + (clip * p.heads + head) * num_keys * depth;
    for (int64_t j = 0; j < p.tokens; j += KEYS_OF_A_PRODUCT)
      multiply_pairs(rows, std::min<int64_t>(KEYS_OF_A_PRODUCT, p.tokens - j), depth, queries,
                     depth, key + j * 2, num_keys, logits + j, width, false);
  }

  void multiply_with_values(int64_t clip, int64_t head, int64_t rows, const uint16_t* weights,
                            float* x) const {
    const uint16_t* value = values + (clip * p.heads + head) * num_keys * p.channels;
    for (int64_t key = 0; key < num_keys; key += KEYS_OF_A_PRODUCT)
      multiply_pairs(rows, p.channels, std::min<int64_t>(KEYS_OF_A_PRODUCT, num_keys - key),
                     weights + key, 2 * width, value + key * p.channels, p.channels, x, x_width,
                     key > 0);
  }
};

}  // namespace vidtldr
