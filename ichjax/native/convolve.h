// Forward convolution of stride 1, with a bias and a ReLU.
//
// A block of output pixels times output channels stays in registers during the loop over the kernel's taps (as in
// Georganas et al., 'Anatomy of high-performance deep learning convolutions on SIMD architectures', SC 2018); an input
// value is loaded once for all columns of the kernel. Input rows are first copied with zero padding, so that taps need
// no bounds checks; this copy also concatenates x and the skip connection.
#pragma once

#include <utility>

#include "maps.h"

namespace ichjax {

constexpr int64_t BLOCK = LANES * VECTORS;  // output channels per block
constexpr int64_t CHUNK = 1024;             // taps whose weights fit the cache; more are processed in chunks

constexpr int max_pixels(int vectors, int width) { return (REGISTERS - RESERVED - width * vectors) / vectors; }

static_assert(max_pixels(VECTORS, MAX_WIDTH) >= 1);
static_assert(max_pixels(1, 1) + MAX_WIDTH - 1 <= 32, "loops are unrolled by 32");

// Weights of a chunk of input channels for one block of output channels: [rows][channels][WIDTH][V vectors].
struct Taps {
  const float* weights;
  int64_t rows, channels;
};

// Accumulates PIXELS pixels of a row times V vectors of channels, starting from `start`, or from y if it is null.
template <int PIXELS, int V, int WIDTH>
void multiply(const float* x, int64_t x_pixel, int64_t x_row, Taps taps, const float* start, float* y, int64_t y_pixel,
              bool relu) {
  Vector sums[PIXELS][V];
#pragma GCC unroll 32
  for (int p = 0; p < PIXELS; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[p][v] = load(start ? start + v * LANES : y + p * y_pixel + v * LANES);
  const float* weights = taps.weights;
  for (int64_t row = 0; row < taps.rows; ++row, x += x_row)
    for (int64_t c = 0; c < taps.channels; ++c, weights += WIDTH * V * LANES) {
      Vector w[WIDTH][V];
#pragma GCC unroll 4
      for (int k = 0; k < WIDTH; ++k)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[k][v] = load(weights + (k * V + v) * LANES);
#pragma GCC unroll 32
      for (int q = 0; q < PIXELS + WIDTH - 1; ++q) {
        const float value = x[q * x_pixel + c];
#pragma GCC unroll 4
        for (int k = 0; k < WIDTH; ++k)
          if (q >= k && q - k < PIXELS)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[q - k][v] += value * w[k][v];
      }
    }
  const Vector zero = {};
#pragma GCC unroll 32
  for (int p = 0; p < PIXELS; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Vector sum = sums[p][v];
      store(y + p * y_pixel + v * LANES, relu ? (sum < zero ? zero : sum) : sum);  // NaN stays NaN
    }
}

using Multiply = void (*)(const float*, int64_t, int64_t, Taps, const float*, float*, int64_t, bool);

// Instantiated for 1, 2, 4, 6, ... pixels and for the maximum.
template <int V, int WIDTH, int... HALF>
Multiply multiply_of(int64_t pixels, std::integer_sequence<int, HALF...>) {
  static constexpr Multiply variants[] = {multiply<HALF ? 2 * HALF : 1, V, WIDTH>...};
  constexpr int max = max_pixels(V, WIDTH);
  return pixels == max ? multiply<max, V, WIDTH> : variants[pixels / 2];
}

template <int V, int WIDTH = 1>
Multiply multiply_of(int64_t vectors, int64_t width, int64_t pixels) {
  if constexpr (V < VECTORS)
    if (vectors > V) return multiply_of<V + 1, WIDTH>(vectors, width, pixels);
  if constexpr (WIDTH < MAX_WIDTH)
    if (width > WIDTH) return multiply_of<V, WIDTH + 1>(vectors, width, pixels);
  return multiply_of<V, WIDTH>(pixels, std::make_integer_sequence<int, max_pixels(V, WIDTH) / 2 + 1>());
}

struct Convolution {
  const Map *x, *skip, *gate;  // skip: concatenated to x, or null; gate: masks x, or null
  const Map* y;
  Stencil stencil;
  bool relu, add;  // add: accumulate into y instead of starting from the bias

  int64_t channels() const { return x->channels + (skip ? skip->channels : 0); }
  // Padded where pixels would map to the same cache set.
  int64_t pixel() const { return channels() + (channels() % 256 ? 0 : LANES); }
  int64_t row() const { return (x->width + stencil.width - 1) * pixel(); }
};

// Copies rows [first, first + count) of x with zero padding.
inline void copy_rows(const Convolution& layer, int64_t image, int64_t first, int64_t count, float* to) {
  const Map &x = *layer.x, *skip = layer.skip;
  const int64_t pixel = layer.pixel(), before = layer.stencil.left * pixel, inside = x.width * pixel;
  for (int64_t y = first; y < first + count; ++y, to += layer.row()) {
    if (y < 0 || y >= x.height) {
      std::fill_n(to, layer.row(), 0.0f);
      continue;
    }
    std::fill_n(to, before, 0.0f);
    copy_row(x, x.at(image, y), layer.gate ? layer.gate->at(image, y) : nullptr, to + before, pixel);
    if (skip) copy_row(*skip, skip->at(image, y), nullptr, to + before + x.channels, pixel);
    std::fill(to + before + inside, to + layer.row(), 0.0f);
  }
}

// Computes rows of y from padded rows of x.
inline void multiply_rows(const Convolution& layer, const float* rows, int64_t count, const float* packed,
                          const float* bias, float* y, int64_t y_row, int64_t y_pixel) {
  const Stencil& stencil = layer.stencil;
  const int64_t channels = layer.channels(), width = layer.y->width, taps = stencil.height * stencil.width * channels;
  const bool whole = taps <= CHUNK;
  const int64_t kernel_rows = whole ? stencil.height : 1, chunk = whole ? channels : CHUNK / stencil.width;
  for (int64_t block = 0; block < padded(layer.y->channels); block += BLOCK) {
    const int64_t vectors = std::min(BLOCK, padded(layer.y->channels) - block) / LANES;
    const int64_t max = max_pixels(vectors, stencil.width);
    const int64_t size = std::min(max, blocks(blocks(width, blocks(width, max)), 2) * 2);  // pixels per call
    for (int64_t k = 0; k < stencil.height; k += kernel_rows)
      for (int64_t c = 0; c < channels; c += chunk) {
        const bool first = k == 0 && c == 0 && !layer.add;
        const bool last = k + kernel_rows == stencil.height && c + chunk >= channels;
        const Taps here = {packed + block * taps + (k * channels + c) * stencil.width * vectors * LANES, kernel_rows,
                           std::min(chunk, channels - c)};
        for (int64_t row = 0; row < count; ++row)
          for (int64_t left = 0, pixels; left < width; left += pixels) {
            pixels = std::min(size, width - left);
            if (pixels % 2 && pixels > 1 && pixels < max) --pixels;
            multiply_of<1>(vectors, stencil.width, pixels)(
                rows + (row + k) * layer.row() + left * layer.pixel() + c, layer.pixel(), layer.row(), here,
                first ? bias + block : nullptr, y + row * y_row + left * y_pixel + block, y_pixel, layer.relu && last);
          }
      }
  }
}

inline void convolve_rows(const Convolution& layer, int64_t image, int64_t first, int64_t count, const float* packed,
                          const float* bias) {
  const Map& y = *layer.y;
  const int64_t halo = layer.stencil.height - 1, padded_features = padded(y.channels);
  float* rows = scratch(0, (count + halo) * layer.row());
  copy_rows(layer, image, first - layer.stencil.top, count + halo, rows);
  float* out = y.at(image, first);
  if (padded_features == y.channels) {
    multiply_rows(layer, rows, count, packed, bias, out, y.row, y.pixel);
    return;
  }
  // Whole vectors would overwrite the next pixel: compute in scratch memory, then copy without the padding.
  float* padded_out = scratch(1, count * y.width * padded_features);
  auto pixel = [&](int64_t i) { return out + i / y.width * y.row + i % y.width * y.pixel; };
  if (layer.add)
    for (int64_t i = 0; i < count * y.width; ++i) std::copy_n(pixel(i), y.channels, padded_out + i * padded_features);
  multiply_rows(layer, rows, count, packed, bias, padded_out, y.width * padded_features, padded_features);
  for (int64_t i = 0; i < count * y.width; ++i) std::copy_n(padded_out + i * padded_features, y.channels, pixel(i));
}

// Packs a kernel [height][width][channels][features] as [block][height][channels][width][features of the block].
inline void pack(xla::ffi::ThreadPool& pool, const float* kernel, const Stencil& stencil, int64_t channels,
                 int64_t features, float* packed) {
  in_parallel(pool, blocks(features, BLOCK), [&](int64_t block) {
    const int64_t first = block * BLOCK, size = std::min(BLOCK, padded(features) - first);
    const int64_t real = std::min(size, features - first);
    float* to = packed + first * stencil.height * stencil.width * channels;
    for (int64_t y = 0; y < stencil.height; ++y)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t x = 0; x < stencil.width; ++x, to += size) {
          std::copy_n(kernel + ((y * stencil.width + x) * channels + c) * features + first, real, to);
          std::fill(to + real, to + size, 0.0f);
        }
  });
}

// y = x convolved with `kernel` [height, width, channels, features], plus `bias` if it is not null.
inline void convolve(xla::ffi::ThreadPool& pool, const Convolution& layer, const float* kernel, const float* bias) {
  const Map &x = *layer.x, &y = *layer.y;
  Memory weights, starts;
  float* packed = weights.floats(layer.stencil.height * layer.stencil.width * layer.channels() * padded(y.channels));
  pack(pool, kernel, layer.stencil, layer.channels(), y.channels, packed);
  float* start = starts.floats(padded(y.channels));
  std::fill_n(start, padded(y.channels), 0.0f);
  if (bias) std::copy_n(bias, y.channels, start);
  const int64_t rows = rows_at_a_time(x, layer.row(), layer.stencil.height - 1, pool.num_threads());
  const int64_t parts = blocks(x.height, rows);
  in_parallel(pool, x.batch * parts, [&](int64_t task) {
    const int64_t first = task % parts * rows;
    convolve_rows(layer, task / parts, first, std::min(rows, x.height - first), packed, start);
  });
}

}  // namespace ichjax
