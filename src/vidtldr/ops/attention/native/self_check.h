// Checks the compiled kernel on this processor before it is used, by comparing a small case with
// loops in float64.
#pragma once

#include <vector>

#include "bfloat16_products.h"
#include "problem.h"
#include "vectors.h"

namespace vidtldr {

constexpr int64_t CLIPS = 2, HEADS = 3, TOKENS = 2 * PANEL + 5, CHANNELS = PANEL + 3;
constexpr float SCALE = 0.5f;

// Reproducible pseudo-random numbers between -1 and 1.
inline float drawn(int64_t i) { return static_cast<float>((i * 2654435761u >> 8) % 2001) / 1000 - 1; }

// q, k and v as (3, B, H, N, D), and mass.
template <typename Type>
struct SmallCase {
  using Stored = typename Type::Stored;
  std::vector<Stored> qkv, x;
  std::vector<float> mass, score;
  static constexpr int64_t SIZE = CLIPS * HEADS * TOKENS * CHANNELS;

  SmallCase() : qkv(3 * SIZE), x(SIZE), mass(CLIPS * TOKENS), score(CLIPS * TOKENS) {
    for (int64_t i = 0; i < 3 * SIZE; i++) qkv[i] = Type::written(drawn(i));
    for (int64_t i = 0; i < CLIPS * TOKENS; i++) mass[i] = 1 + std::fabs(drawn(i)) * 9;
  }

  Rows rows(int64_t which) const {
    return {qkv.data() + which * SIZE, HEADS * TOKENS * CHANNELS, TOKENS * CHANNELS, CHANNELS};
  }

  // One thread: with more, a forked process would wait for threads that do not exist there.
  Problem problem(Products products) {
    Problem asked = {};
    asked.q = rows(0), asked.k = rows(1), asked.v = rows(2);
    asked.x = x.data(), asked.mass = mass.data(), asked.score = score.data();
    asked.clips = CLIPS, asked.heads = HEADS, asked.tokens = TOKENS, asked.channels = CHANNELS;
    asked.rows = 2 * ROWS, asked.products = products, asked.score_kind = SHARPNESS;
    asked.threads = 1, asked.scale = SCALE;
    return asked;
  }

  double read(int64_t which, int64_t clip, int64_t head, int64_t n, int64_t d) const {
    return Type::read(rows(which).template at<Stored>(clip, head, n)[d]);
  }

  // exp of the logits of query n, and their sum.
  std::vector<double> exponentials(int64_t clip, int64_t head, int64_t n, double* total) const {
    std::vector<double> e(TOKENS);
    *total = 0;
    for (int64_t j = 0; j < TOKENS; j++) {
      double logit = 0;
      for (int64_t d = 0; d < CHANNELS; d++)
        logit += read(0, clip, head, n, d) * read(1, clip, head, j, d);
      *total += e[j] = std::exp(SCALE * logit);
    }
    return e;
  }

  // Whether `x` and `score` (sharpness) are correct within `tolerance`.
  bool is_right(double tolerance) const {
    for (int64_t clip = 0; clip < CLIPS; clip++)
      for (int64_t n = 0; n < TOKENS; n++) {
        std::vector<double> mean(TOKENS);
        for (int64_t head = 0; head < HEADS; head++) {
          double total, weights = 0;
          const std::vector<double> e = exponentials(clip, head, n, &total);
          std::vector<double> expected(CHANNELS);
          for (int64_t j = 0; j < TOKENS; j++) {
            const double weight = e[j] * mass[clip * TOKENS + j];
            weights += weight;
            mean[j] += e[j] / total / HEADS;
            for (int64_t d = 0; d < CHANNELS; d++)
              expected[d] += weight * read(2, clip, head, j, d);
          }
          const Stored* found = x.data() + ((clip * TOKENS + n) * HEADS + head) * CHANNELS;
          for (int64_t d = 0; d < CHANNELS; d++)
            if (!(std::fabs(Type::read(found[d]) - expected[d] / weights) <= tolerance))
              return false;
        }
        double entropy = 0;
        for (double a : mean) entropy += a * std::log(a);
        if (!(std::fabs(score[clip * TOKENS + n] - entropy) <= 1e-4)) return false;
      }
    return true;
  }
};

// Whether torch has bfloat16 products here; it throws if not.
inline bool multiplies_bfloat16() {
  const std::vector<uint16_t> a(2 * 32), b(32 * 32);
  std::vector<float> c(2 * 32, 1.0f);
  try {
    multiply_pairs(2, 32, 32, a.data(), 32, b.data(), 32, c.data(), 32, false);
    release_kernels();
  } catch (...) {
    return false;
  }
  return c[0] == 0;
}

}  // namespace vidtldr
