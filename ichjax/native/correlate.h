// A kernel's gradient: the input correlated with the output's gradient.
//
// A block of input channels times kernel columns times output channels stays in registers while the pixels go by. A
// pixel's gradient is loaded once for all columns of the kernel, and a number of the input once for all of them too.
#pragma once

#include "maps.h"

namespace ichjax {

constexpr int MOST_VECTORS = REGISTERS == 32 ? 2 : 1;   // of a block of output channels
constexpr int64_t SHARES = 32, SHARED = 1 << 20;        // of the sums, and the floats that all may take together

// Input channels of a block: a power of two.
constexpr int most_channels(int vectors, int width) {
  const int most = (REGISTERS - SPARE - width * vectors) / (width * vectors);
  return most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

// sums[k][j] += over rows and pixels p: x[p][j] * gradient[p + WIDTH - 1 - k], for J input channels and V vectors of
// output channels. A row of gradients begins with the zeros that the kernel's columns see before the first pixel.
template <int J, int V, int WIDTH>
void correlate(const float* x, const float* gradient, int64_t gradient_row, int64_t rows, int64_t width, float* sums,
               int64_t column, int64_t channel) {
  Vector block[WIDTH][J][V];
#pragma GCC unroll 4
  for (int k = 0; k < WIDTH; ++k)
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) block[k][j][v] = load(sums + k * column + j * channel + v * LANES);
  for (int64_t row = 0; row < rows; ++row, gradient += gradient_row) {
    const float* next = gradient;
    Vector g[WIDTH][V];
#pragma GCC unroll 4
    for (int k = 1; k < WIDTH; ++k, next += V * LANES)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) g[k][v] = load(next + v * LANES);
    for (int64_t p = 0; p < width; ++p, x += J, next += V * LANES) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
#pragma GCC unroll 4
        for (int k = 0; k < WIDTH - 1; ++k) g[k][v] = g[k + 1][v];
        g[WIDTH - 1][v] = load(next + v * LANES);
      }
#pragma GCC unroll 8
      for (int j = 0; j < J; ++j) {
        const float value = x[j];
#pragma GCC unroll 4
        for (int k = 0; k < WIDTH; ++k)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) block[k][j][v] += value * g[WIDTH - 1 - k][v];
      }
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < WIDTH; ++k)
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(sums + k * column + j * channel + v * LANES, block[k][j][v]);
}

using Correlate = void (*)(const float*, const float*, int64_t, int64_t, int64_t, float*, int64_t, int64_t);

template <int J, int V = 1, int WIDTH = 1>
Correlate correlate_of(int64_t channels, int64_t vectors, int64_t width) {
  if constexpr (V < MOST_VECTORS)
    if (vectors > V) return correlate_of<J, V + 1, WIDTH>(channels, vectors, width);
  if constexpr (WIDTH < WIDEST)
    if (width > WIDTH) return correlate_of<J, V, WIDTH + 1>(channels, vectors, width);
  if constexpr (2 * J <= most_channels(V, WIDTH))
    if (channels > J) return correlate_of<2 * J, V, WIDTH>(channels, vectors, width);
  return correlate<J, V, WIDTH>;
}

struct Correlation {
  const Map *x, *gradient, *gate;  // gate: of the gradient, or none
  Window window;
  int64_t together;         // input channels of a block
  int64_t first, channels;  // input channels of a task

  int64_t width() const { return x->width + window.width - 1; }
  int64_t all() const { return blocks(x->channels, together) * together; }
  int64_t vectors(int64_t block) const {
    return std::min<int64_t>(MOST_VECTORS, (padded(gradient->channels) - block) / LANES);
  }
};

// The rows of the gradient [first, first + count), as [block of channels][row][zeros, pixels, zeros][channels].
inline void copy_gradients(const Correlation& task, int64_t image, int64_t first, int64_t count, float* rows) {
  const Map& gradient = *task.gradient;
  const int64_t before = task.window.width - 1 - task.window.left;
  for (int64_t block = 0; block < padded(gradient.channels); block += MOST_VECTORS * LANES) {
    const int64_t lanes = task.vectors(block) * LANES;
    Map part = gradient;
    part.channels = std::min(lanes, gradient.channels - block);
    for (int64_t y = first; y < first + count; ++y, rows += task.width() * lanes) {
      std::fill_n(rows, task.width() * lanes, 0.0f);
      if (y < 0 || y >= gradient.height) continue;
      copy_row(part, gradient.at(image, y) + block, task.gate ? task.gate->at(image, y) + block : nullptr,
               rows + before * lanes, lanes);
    }
  }
}

// Adds rows of gradients that copy_gradients put down, [first, first + count) of `height` each, to the bias's.
inline void add_gradients(const Correlation& task, const float* rows, int64_t height, int64_t first, int64_t count,
                          float* bias) {
  const int64_t before = task.window.width - 1 - task.window.left;
  for (int64_t block = 0; block < padded(task.gradient->channels); block += MOST_VECTORS * LANES) {
    const int64_t lanes = task.vectors(block) * LANES;
    for (int64_t row = first; row < first + count; ++row)
      for (int64_t f = 0; f < lanes; f += LANES) {
        const float* pixel = rows + (row * task.width() + before) * lanes + f;
        Vector sum = load(bias + block + f);
        for (int64_t p = 0; p < task.x->width; ++p) sum += load(pixel + p * lanes);
        store(bias + block + f, sum);
      }
    rows += height * task.width() * lanes;
  }
}

// Adds what rows [first, first + count) of x say to sums [height][width][channels][features].
inline void correlate_rows(const Correlation& task, int64_t image, int64_t first, int64_t count, float* sums,
                           float* bias) {
  const Map& x = *task.x;
  const Window& window = task.window;
  const int64_t wide = padded(task.gradient->channels), height = count + window.height - 1;
  const int64_t J = task.together;
  float* rows = scratch(0, height * task.width() * wide);
  const int64_t above = window.height - 1 - window.top;
  copy_gradients(task, image, first - above, height, rows);
  if (bias) add_gradients(task, rows, height, above, count, bias);
  float* numbers = scratch(1, count * x.width * J);
  for (int64_t c = task.first; c < task.first + task.channels; c += J) {
    const int64_t real = std::min(J, x.channels - c);
    float* to = numbers;
    for (int64_t y = first; y < first + count; ++y) {
      const float* from = x.at(image, y) + c;
      for (int64_t p = 0; p < x.width; ++p, from += x.pixel, to += J)
        for (int64_t j = 0; j < J; ++j) to[j] = j < real ? from[j] : 0.0f;
    }
    for (int64_t k = 0; k < window.height; ++k)
      for (int64_t block = 0; block < wide; block += MOST_VECTORS * LANES) {
        const int64_t row = task.width() * task.vectors(block) * LANES;
        correlate_of<1>(J, task.vectors(block), window.width)(
            numbers, rows + height * task.width() * block + (window.height - 1 - k) * row, row, count, x.width,
            sums + (k * window.width * task.all() + c) * wide + block, task.all() * wide, wide);
      }
  }
}

// kernel [height, width, channels, features] = the gradient of a kernel; adds to bias [features] that of the bias.
//
// How sums are divided depends on the shapes alone: the same numbers come out on any number of threads.
inline void correlate(xla::ffi::ThreadPool& pool, Correlation task, float* kernel, float* bias) {
  const Map& x = *task.x;
  const int64_t features = task.gradient->channels, wide = padded(features), width = task.window.width;
  const int vectors = task.vectors(0);
  const int most = width == 1   ? most_channels(vectors, 1)
                   : width == 2 ? most_channels(vectors, 2)
                                : most_channels(vectors, 3);
  for (task.together = 1; task.together < most && task.together < x.channels;) task.together *= 2;
  const int64_t J = task.together, all = task.all(), size = (task.window.height * width * all + 1) * wide;
  const int64_t rows = rows_at_a_time(x, task.width() * wide, task.window.height - 1, 1);
  const int64_t in_image = blocks(x.height, rows), units = x.batch * in_image;
  const int64_t parts = std::clamp<int64_t>(SHARED / size, 1, std::clamp<int64_t>(units, 1, SHARES));
  // Of input channels, where sums are too large to have many; how many groups there are changes no sum.
  const int64_t groups = std::min(all / J, blocks(4 * pool.num_threads(), parts));
  Memory memory;
  float* sums = memory.floats(parts * size);
  in_parallel(pool, parts, [&](int64_t part) { std::fill_n(sums + part * size, size, 0.0f); });
  in_parallel(pool, parts * groups, [&](int64_t index) {
    const int64_t part = index / groups, group = index % groups;
    float* own = sums + part * size;
    Correlation mine = task;
    mine.first = all / J * group / groups * J;
    mine.channels = all / J * (group + 1) / groups * J - mine.first;
    for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
      const int64_t first = unit % in_image * rows;
      correlate_rows(mine, unit / in_image, first, std::min(rows, x.height - first), own,
                     group == 0 ? own + size - wide : nullptr);
    }
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < size; i += LANES) store(sums + i, load(sums + i) + load(sums + part * size + i));
  for (int64_t tap = 0; tap < task.window.height * width; ++tap)
    for (int64_t c = 0; c < x.channels; ++c)
      std::copy_n(sums + (tap * all + c) * wide, features, kernel + (tap * x.channels + c) * features);
  for (int64_t f = 0; f < features; ++f) bias[f] += sums[size - wide + f];
}

}  // namespace ichjax
