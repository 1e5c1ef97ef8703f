// Vectors of floats, the functions of a softmax on them, and the types of tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace vidtldr {

// A tile accumulates ROWS x PANEL numbers in registers.
#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 12;  // 24 of 32 registers
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 6;  // 12 of 16
#else
constexpr int LANES = 4, ROWS = 8;  // 16 of 32, on Arm
#endif
constexpr int VECTORS = 2, PANEL = VECTORS * LANES;

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef float LooseVec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(LANES * 4)));

// Probabilities below this share of their row's largest are 0. Even summed over all keys they would
// not change the last digit, and they lead to subnormal numbers, which make a product hundreds of
// times slower on some processors.
constexpr float LEAST_LOG2 = -99.0f;  // 1.6e-30

inline Vec load(const float* from) { return *reinterpret_cast<const LooseVec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<LooseVec*>(to) = value; }
inline Vec all(float value) { return value - Vec{}; }

inline float sum(Vec value) {
  float total = 0;
  for (int i = 0; i < LANES; i++) total += value[i];
  return total;
}

inline float largest(const float* row, int64_t width) {
  Vec high = load(row);
  for (int64_t j = LANES; j < width; j += LANES) {
    const Vec x = load(row + j);
    high = x > high ? x : high;
  }
  float highest = high[0];
  for (int i = 1; i < LANES; i++) highest = std::max(highest, high[i]);
  return highest;
}

// 2 ** x for x <= 0, and 0 below LEAST_LOG2. The polynomial, a least-squares fit of the relative
// error, is off by less than rounding.
inline Vec exp2_or_zero(Vec x) {
  const Vec magic = all(12582912.0f);  // 1.5 * 2 ** 23: adding it rounds to a whole number
  const Vec shifted = x + magic;
  const Vec f = x - (shifted - magic);  // in [-1/2, 1/2]
  Vec p = f * 0.00015337577497120947f + 0.0013399859890341759f;
  p = p * f + 0.009618519805371761f;
  p = p * f + 0.05550329014658928f;
  p = p * f + 0.24022646248340607f;
  p = p * f + 0.6931471824645996f;
  p = p * f + 1.0f;
  const IntVec exponent = reinterpret_cast<IntVec>(shifted) << 23;
  const Vec value = reinterpret_cast<Vec>(reinterpret_cast<IntVec>(p) + exponent);
  const IntVec is_zero = x < LEAST_LOG2;
  const Vec kept = reinterpret_cast<Vec>(reinterpret_cast<IntVec>(value) & ~is_zero);
  return x == x ? kept : x;  // NaN stays NaN
}

// a ln a for a in [0, 1], by ln m = 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)].
inline Vec times_log(Vec a) {
  const IntVec bits = reinterpret_cast<IntVec>(a);
  const IntVec exponent = (bits - 0x3f3504f3) >> 23;  // 0x3f3504f3 is sqrt(1/2)
  const Vec m = reinterpret_cast<Vec>(bits - (exponent << 23));
  const Vec s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  Vec p = s2 * (2.0f / 9) + 2.0f / 7;
  p = p * s2 + 2.0f / 5;
  p = p * s2 + 2.0f / 3;
  const Vec log_m = s * 2.0f + s * s2 * p;
  const Vec value = a * (__builtin_convertvector(exponent, Vec) * 0.693147180559945f + log_m);
  return a == a ? value : a;
}

inline uint16_t to_bfloat16(float value) {  // round to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(value == value ? rounded : 0x7fc0);
}

inline float from_bfloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

// Storage formats of a tensor.
struct Float32 {
  using Stored = float;
  static float read(float value) { return value; }
  static float written(float value) { return value; }
};
struct BFloat16 {
  using Stored = uint16_t;
  static float read(uint16_t value) { return from_bfloat16(value); }
  static uint16_t written(float value) { return to_bfloat16(value); }
};
#ifdef __FLT16_MANT_DIG__  // g++ before 12 has no such type; float16 then falls back
struct Float16 {
  using Stored = _Float16;
  static float read(_Float16 value) { return static_cast<float>(value); }
  static _Float16 written(float value) { return static_cast<_Float16>(value); }
};
#endif

inline int64_t padded(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

}  // namespace vidtldr
