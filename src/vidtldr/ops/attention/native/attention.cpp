// Attention in proportion to mass, with a score of every token, on a CPU.
//
// A thread processes a block of query rows for all heads: logits of one head against every key,
// their exponentials, the running mean over heads, and the product with the values. All of it stays
// in the thread's own caches, and nothing is shared until the block is done. So there is one
// parallel region per layer, and a thread that loses its core delays the others by at most one
// block.
//
// Letters: B clips, H heads, N tokens, D channels a head, R query rows of a block.

#include <omp.h>

#include <limits>
#include <vector>

#include "bfloat16_products.h"
#include "float_products.h"
#include "problem.h"
#include "self_check.h"
#include "vectors.h"
#include "workspace.h"

namespace vidtldr {

int64_t Problem::width() const { return padded(tokens, PANEL) + LANES; }

namespace {

constexpr float LN_2 = 0.693147180559945f;
// The logit of a padding key.
constexpr float LEAST = -std::numeric_limits<float>::infinity();

// Turns a row of logits into 2 ** (factor (logit - largest)) and returns their sum.
template <bool WITH_ENTROPY>
float exponentials(float* row, int64_t width, float factor, float* negative_entropy) {
  const float highest = largest(row, width);
  Vec total = {}, moments = {};
  for (int64_t j = 0; j < width; j += LANES) {
    const Vec x = (load(row + j) - highest) * factor, e = exp2_or_zero(x);
    store(row + j, e);
    total += e;
    if (WITH_ENTROPY) moments += e * (x < LEAST_LOG2 ? Vec{} : x);
  }
  const float sum_of_all = sum(total);
  if (WITH_ENTROPY) *negative_entropy = LN_2 * (sum(moments) / sum_of_all) - std::log(sum_of_all);
  return sum_of_all;
}

inline void store_weight(float* to, Vec value) { store(to, value); }
inline void store_weight(uint16_t* to, Vec value) {
  for (int i = 0; i < LANES; i++) to[i] = to_bfloat16(value[i]);
}

// Adds exponentials times `share` to `mean`, and writes them times mass as weights of the values.
// The weights may overwrite the exponentials. Returns the sum of the weights.
template <bool WITH_MEAN, bool WITH_MASS, typename Weight>
float weigh(const float* row, int64_t width, float share, float* mean, const float* mass,
            Weight* weights) {
  Vec total = {};
  for (int64_t j = 0; j < width; j += LANES) {
    Vec e = load(row + j);
    if (WITH_MEAN) store(mean + j, load(mean + j) + e * share);
    if (WITH_MASS) {
      e *= load(mass + j);
      total += e;
    }
    if (WITH_MASS || sizeof(Weight) != sizeof(float)) store_weight(weights + j, e);
  }
  return sum(total);
}

// Buffers of a thread, overwritten for every block.
struct Scratch {
  float *queries, *logits, *mean, *x, *weight_sums;
};

template <typename Products>
class Attention {
  using Stored = typename Products::Numbers::Stored;
  using Weight = typename Products::Weight;
  const Problem& p;
  Products products;
  const int64_t width = p.width(), x_width = padded(p.channels, PANEL);
  const int64_t block_rows = padded(p.rows, ROWS);
  const int64_t blocks = padded(p.tokens, block_rows) / block_rows;  // per clip
  const bool with_mean = p.score_kind == SHARPNESS || p.score_kind == RECEIVED;
  // Not 0, so that padding keys stay far below the others even with a scale of 0.
  const float factor = std::max(std::fabs(p.scale) / LN_2, 1e-36f);
  float* const masses;    // (B, width)
  float* const received;  // (threads, B, width)
  std::vector<Scratch> scratches;
  int64_t next_block = 0;

 public:
  Attention(const Problem& problem, Workspace& workspace)
      : p(problem),
        products(problem, workspace),
        masses(workspace.take<float>(p.mass ? p.clips * width : 0)),
        received(workspace.take<float>(num_received())) {
    for (int t = 0; t < p.threads; t++)
      scratches.push_back({workspace.take<float>(products.num_query_floats(block_rows)),
                           workspace.take<float>(block_rows * width),
                           workspace.take<float>(with_mean ? block_rows * width : 0),
                           workspace.take<float>(block_rows * x_width),
                           workspace.take<float>(block_rows)});
  }

  Outcome run() {
    std::fill_n(received, num_received(), 0.0f);
    bool has_failed = false;
#pragma omp parallel num_threads(p.threads) reduction(|| : has_failed)
    {
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < p.clips * p.heads; i++) {
        products.pack(i / p.heads, i % p.heads);
        if (p.mass && i % p.heads == 0) pack_mass(i / p.heads);
      }
      try {  // no exception may leave a parallel region
        run_blocks(scratches[omp_get_thread_num()]);
        if (p.products == NATIVE_BFLOAT16) release_kernels();
      } catch (...) {
        has_failed = true;
      }
    }
    if (p.score_kind == RECEIVED) add_up_received();
    return has_failed ? FAILED : DONE;
  }

 private:
  int64_t num_received() const {
    return p.score_kind == RECEIVED ? p.threads * p.clips * width : 0;
  }

  void pack_mass(int64_t clip) {
    float* row = masses + clip * width;
    std::copy_n(p.mass + clip * p.tokens, p.tokens, row);
    std::fill(row + p.tokens, row + width, 0.0f);
  }

  // A block goes to the next free thread. Only attention received is summed over blocks, per
  // thread; there each thread always gets the same blocks, so that the sum is reproducible.
  void run_blocks(const Scratch& scratch) {
    const int thread = omp_get_thread_num(), num_threads = omp_get_num_threads();
    float* own = nullptr;
    if (p.score_kind == RECEIVED) own = received + thread * p.clips * width;
    int64_t block = own ? thread : take_block();
    while (block < p.clips * blocks) {
      run_block(block / blocks, block % blocks * block_rows, scratch, own);
      block = own ? block + num_threads : take_block();
    }
  }

  int64_t take_block() {
    int64_t taken;
#pragma omp atomic capture
    taken = next_block++;
    return taken;
  }

  void run_block(int64_t clip, int64_t start, const Scratch& s, float* own) {
    const int64_t rows = std::min(block_rows, p.tokens - start);
    float* score = p.score + clip * p.tokens + start;
    if (with_mean) std::fill_n(s.mean, rows * width, 0.0f);
    if (p.score_kind == SHARPNESS_PER_HEAD) std::fill_n(score, rows, 0.0f);
    for (int64_t head = 0; head < p.heads; head++) {
      products.multiply_with_keys(clip, head, start, rows, s.queries, s.logits);
      for (int64_t i = 0; i < rows; i++) soften(clip, i, s, score);
      if (!p.x) continue;
      products.multiply_with_values(clip, head, rows,
                                    reinterpret_cast<const Weight*>(s.logits), s.x);
      write_values(clip, head, start, rows, s);
    }
    if (p.score_kind == SHARPNESS)
      for (int64_t i = 0; i < rows; i++) score[i] = negative_entropy(s.mean + i * width);
    if (own)
      for (int64_t i = 0; i < rows; i++) add_to(own + clip * width, s.mean + i * width);
  }

  // Turns one row of one head from logits into weights and collects what the score needs.
  void soften(int64_t clip, int64_t i, const Scratch& s, float* score) {
    float* row = s.logits + i * width;
    std::fill(row + p.tokens, row + width, LEAST);
    float total, entropy = 0;
    if (p.score_kind == SHARPNESS_PER_HEAD) {
      total = exponentials<true>(row, width, factor, &entropy);
      score[i] += entropy / p.heads;
    } else {
      total = exponentials<false>(row, width, factor, nullptr);
    }
    const float* mass = p.mass && p.x ? masses + clip * width : nullptr;
    float* mean = s.mean + i * width;
    const float share = 1.0f / (total * p.heads);
    Weight* weights = reinterpret_cast<Weight*>(row);
    float weighed = 0;
    if (with_mean && mass) weighed = weigh<true, true>(row, width, share, mean, mass, weights);
    if (with_mean && !mass) weigh<true, false>(row, width, share, mean, mass, weights);
    if (!with_mean && mass) weighed = weigh<false, true>(row, width, share, mean, mass, weights);
    if (!with_mean && !mass) weigh<false, false>(row, width, share, mean, mass, weights);
    s.weight_sums[i] = mass ? weighed : total;
  }

  void write_values(int64_t clip, int64_t head, int64_t start, int64_t rows, const Scratch& s) {
    for (int64_t i = 0; i < rows; i++) {
      Stored* to = static_cast<Stored*>(p.x) +
                   ((clip * p.tokens + start + i) * p.heads + head) * p.channels;
      const float* from = s.x + i * x_width;
      const float share = 1.0f / s.weight_sums[i];
      for (int64_t d = 0; d < p.channels; d++) to[d] = Products::Numbers::written(from[d] * share);
    }
  }

  float negative_entropy(const float* row) const {
    Vec total = {};
    for (int64_t j = 0; j < width; j += LANES) total += times_log(load(row + j));
    return sum(total);
  }

  void add_to(float* total, const float* row) const {
    for (int64_t j = 0; j < width; j += LANES) store(total + j, load(total + j) + load(row + j));
  }

  void add_up_received() {
    for (int64_t clip = 0; clip < p.clips; clip++)
      for (int64_t j = 0; j < p.tokens; j++) {
        float total = 0;
        for (int t = 0; t < p.threads; t++) total += received[(t * p.clips + clip) * width + j];
        p.score[clip * p.tokens + j] = total / p.tokens;
      }
  }
};

}  // namespace
}  // namespace vidtldr

namespace vidtldr {
namespace {

// Runs attention, or only counts the memory it needs.
template <typename Products>
int64_t attend(const Problem& problem, bool only_count) {
  Workspace workspace(only_count ? nullptr : problem.workspace);
  Attention<Products> attention(problem, workspace);
  return only_count ? workspace.num_bytes() : attention.run();
}

int64_t dispatch(const Problem& problem, bool only_count) {
  switch (problem.products) {
    case FLOAT32:
      return attend<FloatProducts<Float32>>(problem, only_count);
    case BFLOAT16:
      return attend<FloatProducts<BFloat16>>(problem, only_count);
#ifdef __FLT16_MANT_DIG__
    case FLOAT16:
      return attend<FloatProducts<Float16>>(problem, only_count);
#endif
    case NATIVE_BFLOAT16:
      return attend<BFloat16Products>(problem, only_count);
    default:
      return FAILED;
  }
}

}  // namespace
}  // namespace vidtldr

// Bytes that `workspace` needs; of the problem's pointers only null or not null matters.
extern "C" int64_t vidtldr_workspace_bytes(const vidtldr::Problem* problem) {
  return vidtldr::dispatch(*problem, true);
}

// Returns an `Outcome`.
extern "C" int vidtldr_attention(const vidtldr::Problem* problem) {
  return static_cast<int>(vidtldr::dispatch(*problem, false));
}

namespace vidtldr {
namespace {

template <typename Type>
bool is_right(Products products, double tolerance) {
  SmallCase<Type> small;
  Problem problem = small.problem(products);
  std::vector<char> workspace(vidtldr_workspace_bytes(&problem));
  problem.workspace = workspace.data();
  return vidtldr_attention(&problem) == DONE && small.is_right(tolerance);
}

}  // namespace
}  // namespace vidtldr

// Bit mask of the `Products` that give correct results here.
extern "C" int vidtldr_usable_products() {
  using namespace vidtldr;
  int usable = is_right<Float32>(FLOAT32, 1e-4) << FLOAT32;
  usable |= is_right<BFloat16>(BFLOAT16, 2e-2) << BFLOAT16;
#ifdef __FLT16_MANT_DIG__
  usable |= is_right<Float16>(FLOAT16, 2e-3) << FLOAT16;
#endif
  if (multiplies_bfloat16())
    usable |= is_right<BFloat16>(NATIVE_BFLOAT16, 4e-2) << NATIVE_BFLOAT16;
  return usable;
}
