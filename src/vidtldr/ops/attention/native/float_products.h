// Both products of attention in float32, whatever the dtype of the tensors.
//
// Letters: N tokens, D channels a head, R query rows of a block.
#pragma once

#include "problem.h"
#include "vectors.h"
#include "workspace.h"

namespace vidtldr {

constexpr int KEYS_AT_ONCE = 64;  // the values of this many keys stay in the L1 cache

// logits (ROWS x PANEL) of queries (D x ROWS) and keys (D x PANEL).
inline void multiply_keys(const float* q, const float* k, int64_t channels, float* logits,
                          int64_t width) {
  Vec total[ROWS][VECTORS] = {};
  for (int64_t d = 0; d < channels; d++, q += ROWS, k += PANEL) {
    Vec key[VECTORS];
    for (int j = 0; j < VECTORS; j++) key[j] = load(k + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < VECTORS; j++) total[i][j] += all(q[i]) * key[j];
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) store(logits + i * width + j * LANES, total[i][j]);
}

// Adds weights (ROWS x keys) times values (keys x PANEL) to x (ROWS x PANEL).
inline void multiply_values(const float* weights, int64_t width, const float* v, int64_t num_keys,
                            float* x, int64_t x_width) {
  Vec total[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) total[i][j] = load(x + i * x_width + j * LANES);
  for (int64_t key = 0; key < num_keys; key++, v += PANEL) {
    Vec value[VECTORS];
    for (int j = 0; j < VECTORS; j++) value[j] = load(v + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < VECTORS; j++) total[i][j] += all(weights[i * width + key]) * value[j];
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) store(x + i * x_width + j * LANES, total[i][j]);
}

template <typename Type>
class FloatProducts {
  using Stored = typename Type::Stored;
  const Problem& p;
  const int64_t width = p.width(), x_width = padded(p.channels, PANEL);
  const int64_t key_size = padded(p.tokens, PANEL) * p.channels, value_size = p.tokens * x_width;
  float *const keys, *const values;  // all heads', in panels of columns and of rows

 public:
  using Numbers = Type;
  using Weight = float;

  FloatProducts(const Problem& problem, Workspace& workspace)
      : p(problem),
        keys(workspace.take<float>(p.clips * p.heads * key_size)),
        values(workspace.take<float>(p.x ? p.clips * p.heads * value_size : 0)) {}

  int64_t num_query_floats(int64_t rows) const { return rows * p.channels; }

  void pack(int64_t clip, int64_t head) {
    float* panel = keys + (clip * p.heads + head) * key_size;
    for (int64_t start = 0; start < p.tokens; start += PANEL, panel += PANEL * p.channels)
      pack_columns(p.k.at<Stored>(clip, head, start), p.k.row_stride, p.tokens - start, PANEL, 1,
                   panel);
    if (p.x) pack_values(clip, head);
  }

  // logits (R x N) of one head's queries from `start` on.
  void multiply_with_keys(int64_t clip, int64_t head, int64_t start, int64_t rows, float* queries,
                          float* logits) const {
    const float sign = p.scale < 0 ? -1 : 1;
    for (int64_t i = 0; i < rows; i += ROWS)
      pack_columns(p.q.at<Stored>(clip, head, start + i), p.q.row_stride, rows - i, ROWS, sign,
                   queries + i * p.channels);
    const float* panel = keys + (clip * p.heads + head) * key_size;
    for (int64_t j = 0; j < p.tokens; j += PANEL, panel += PANEL * p.channels)
      for (int64_t i = 0; i < rows; i += ROWS)
        multiply_keys(queries + i * p.channels, panel, p.channels, logits + i * width + j, width);
  }

  // x (R x D) of weights (R x N), which have overwritten the logits.
  void multiply_with_values(int64_t clip, int64_t head, int64_t rows, const float* weights,
                            float* x) const {
    std::fill_n(x, padded(rows, ROWS) * x_width, 0.0f);
    const float* v = values + (clip * p.heads + head) * value_size;
    for (int64_t key = 0; key < p.tokens; key += KEYS_AT_ONCE)
      for (int64_t c = 0; c < x_width; c += PANEL)
        for (int64_t i = 0; i < rows; i += ROWS)
          multiply_values(weights + i * width + key, width, v + c * p.tokens + key * PANEL,
                          std::min<int64_t>(KEYS_AT_ONCE, p.tokens - key), x + i * x_width + c,
                          x_width);
  }

 private:
  // Packs up to `columns` rows as (D x columns); missing rows become zeros.
  void pack_columns(const Stored* from, int64_t stride, int64_t count, int64_t columns, float sign,
                    float* to) const {
    for (int64_t i = 0; i < columns; i++)
      for (int64_t d = 0; d < p.channels; d++)
        to[d * columns + i] = i < count ? Type::read(from[i * stride + d]) * sign : 0.0f;
  }

  void pack_values(int64_t clip, int64_t head) {
    float* to = values + (clip * p.heads + head) * value_size;
    for (int64_t start = 0; start < p.channels; start += PANEL) {
      const int64_t count = std::min<int64_t>(PANEL, p.channels - start);
      for (int64_t n = 0; n < p.tokens; n++, to += PANEL) {
        const Stored* row = p.v.at<Stored>(clip, head, n) + start;
        for (int64_t d = 0; d < count; d++) to[d] = Type::read(row[d]);
        std::fill(to + count, to + PANEL, 0.0f);
      }
    }
  }
};

}  // namespace vidtldr
