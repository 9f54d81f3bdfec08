// A map from maps: convolution of stride 1, with a bias and a ReLU.
//
// A block of output pixels times output channels stays in registers while a kernel's taps go by (as in Georganas et
// al., 'Anatomy of high-performance deep learning convolutions on SIMD architectures', SC 2018); a number of the input
// is loaded once for all columns of the kernel. Rows are first copied between zeros, so that no tap asks where the map
// ends; two maps that a network would concatenate are put side by side in that copy.
#pragma once

#include <utility>

#include "maps.h"

namespace ichjax {

constexpr int64_t BLOCK = LANES * VECTORS;  // channels of the output
constexpr int64_t CHUNK = 1024;             // taps whose weights stay in the cache; more are gone through in chunks

constexpr int most_pixels(int vectors, int width) { return (REGISTERS - SPARE - width * vectors) / vectors; }

static_assert(most_pixels(VECTORS, WIDEST) >= 1 && most_pixels(1, 1) + WIDEST - 1 <= 32, "loops are unrolled by 32");

// The weights of some input channels, for one block of output channels: [rows][channels][WIDTH][V vectors].
struct Taps {
  const float* weights;
  int64_t rows, channels;
};

// Adds up PIXELS pixels of a row times V vectors of channels, beginning with `start` or with what is in y.
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

// Compiled for 1, 2, 4, 6, ... pixels and for as many as fit.
template <int V, int WIDTH, int... HALF>
Multiply multiply_of(int64_t pixels, std::integer_sequence<int, HALF...>) {
  static constexpr Multiply made[] = {multiply<HALF ? 2 * HALF : 1, V, WIDTH>...};
  constexpr int most = most_pixels(V, WIDTH);
  return pixels == most ? multiply<most, V, WIDTH> : made[pixels / 2];
}

template <int V, int WIDTH = 1>
Multiply multiply_of(int64_t vectors, int64_t width, int64_t pixels) {
  if constexpr (V < VECTORS)
    if (vectors > V) return multiply_of<V + 1, WIDTH>(vectors, width, pixels);
  if constexpr (WIDTH < WIDEST)
    if (width > WIDTH) return multiply_of<V, WIDTH + 1>(vectors, width, pixels);
  return multiply_of<V, WIDTH>(pixels, std::make_integer_sequence<int, most_pixels(V, WIDTH) / 2 + 1>());
}

struct Convolution {
  const Map *x, *beside, *gate;  // beside: further channels, or none; gate: of x, or none
  const Map* y;
  Window window;
  bool relu, add;  // add: to what is in y, in place of the bias

  int64_t channels() const { return x->channels + (beside ? beside->channels : 0); }
  int64_t pixel() const { return channels() + (channels() % 256 ? 0 : LANES); }  // else pixels share a place in the cache
  int64_t row() const { return (x->width + window.width - 1) * pixel(); }
};

// Copies rows [first, first + count) of x between zeros.
inline void copy_rows(const Convolution& layer, int64_t image, int64_t first, int64_t count, float* to) {
  const Map &x = *layer.x, *beside = layer.beside;
  const int64_t pixel = layer.pixel(), before = layer.window.left * pixel, inside = x.width * pixel;
  for (int64_t y = first; y < first + count; ++y, to += layer.row()) {
    if (y < 0 || y >= x.height) {
      std::fill_n(to, layer.row(), 0.0f);
      continue;
    }
    std::fill_n(to, before, 0.0f);
    copy_row(x, x.at(image, y), layer.gate ? layer.gate->at(image, y) : nullptr, to + before, pixel);
    if (beside) copy_row(*beside, beside->at(image, y), nullptr, to + before + x.channels, pixel);
    std::fill(to + before + inside, to + layer.row(), 0.0f);
  }
}

// Rows of y from the rows of x that they see.
inline void multiply_rows(const Convolution& layer, const float* rows, int64_t count, const float* packed,
                          const float* bias, float* y, int64_t y_row, int64_t y_pixel) {
  const Window& window = layer.window;
  const int64_t channels = layer.channels(), width = layer.y->width, taps = window.height * window.width * channels;
  const bool whole = taps <= CHUNK;
  const int64_t together = whole ? window.height : 1, chunk = whole ? channels : CHUNK / window.width;
  for (int64_t block = 0; block < padded(layer.y->channels); block += BLOCK) {
    const int64_t vectors = std::min(BLOCK, padded(layer.y->channels) - block) / LANES;
    const int64_t most = most_pixels(vectors, window.width);
    const int64_t size = std::min(most, blocks(blocks(width, blocks(width, most)), 2) * 2);  // pixels at a time
    for (int64_t k = 0; k < window.height; k += together)
      for (int64_t c = 0; c < channels; c += chunk) {
        const bool first = k == 0 && c == 0 && !layer.add;
        const bool last = k + together == window.height && c + chunk >= channels;
        const Taps here = {packed + block * taps + (k * channels + c) * window.width * vectors * LANES, together,
                           std::min(chunk, channels - c)};
        for (int64_t row = 0; row < count; ++row)
          for (int64_t left = 0, pixels; left < width; left += pixels) {
            pixels = std::min(size, width - left);
            if (pixels % 2 && pixels > 1 && pixels < most) --pixels;
            multiply_of<1>(vectors, window.width, pixels)(
                rows + (row + k) * layer.row() + left * layer.pixel() + c, layer.pixel(), layer.row(), here,
                first ? bias + block : nullptr, y + row * y_row + left * y_pixel + block, y_pixel, layer.relu && last);
          }
      }
  }
}

inline void convolve_rows(const Convolution& layer, int64_t image, int64_t first, int64_t count, const float* packed,
                          const float* bias) {
  const Map& y = *layer.y;
  const int64_t more = layer.window.height - 1, wide = padded(y.channels);
  float* rows = scratch(0, (count + more) * layer.row());
  copy_rows(layer, image, first - layer.window.top, count + more, rows);
  float* out = y.at(image, first);
  if (wide == y.channels) {
    multiply_rows(layer, rows, count, packed, bias, out, y.row, y.pixel);
    return;
  }
  // Whole vectors would write over the next pixel: aside, and then without the padding.
  float* aside = scratch(1, count * y.width * wide);
  auto pixel = [&](int64_t i) { return out + i / y.width * y.row + i % y.width * y.pixel; };
  if (layer.add)
    for (int64_t i = 0; i < count * y.width; ++i) std::copy_n(pixel(i), y.channels, aside + i * wide);
  multiply_rows(layer, rows, count, packed, bias, aside, y.width * wide, wide);
  for (int64_t i = 0; i < count * y.width; ++i) std::copy_n(aside + i * wide, y.channels, pixel(i));
}

// A kernel [height][width][channels][features] as [block of features][height][channels][width][features of the block].
inline void pack(xla::ffi::ThreadPool& pool, const float* kernel, const Window& window, int64_t channels,
                 int64_t features, float* packed) {
  in_parallel(pool, blocks(features, BLOCK), [&](int64_t block) {
    const int64_t first = block * BLOCK, size = std::min(BLOCK, padded(features) - first);
    const int64_t real = std::min(size, features - first);
    float* to = packed + first * window.height * window.width * channels;
    for (int64_t y = 0; y < window.height; ++y)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t x = 0; x < window.width; ++x, to += size) {
          std::copy_n(kernel + ((y * window.width + x) * channels + c) * features + first, real, to);
          std::fill(to + real, to + size, 0.0f);
        }
  });
}

// y = x convolved with `kernel` [height, width, channels, features], plus `bias` or nothing.
inline void convolve(xla::ffi::ThreadPool& pool, const Convolution& layer, const float* kernel, const float* bias) {
  const Map &x = *layer.x, &y = *layer.y;
  Memory weights, starts;
  float* packed = weights.floats(layer.window.height * layer.window.width * layer.channels() * padded(y.channels));
  pack(pool, kernel, layer.window, layer.channels(), y.channels, packed);
  float* start = starts.floats(padded(y.channels));
  std::fill_n(start, padded(y.channels), 0.0f);
  if (bias) std::copy_n(bias, y.channels, start);
  const int64_t rows = rows_at_a_time(x, layer.row(), layer.window.height - 1, pool.num_threads());
  const int64_t parts = blocks(x.height, rows);
  in_parallel(pool, x.batch * parts, [&](int64_t task) {
    const int64_t first = task % parts * rows;
    convolve_rows(layer, task / parts, first, std::min(rows, x.height - first), packed, start);
  });
}

}  // namespace ichjax
