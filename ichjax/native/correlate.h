// Gradient of a kernel: the input correlated with the gradient of the output.
//
// A block of input channels times kernel columns times output channels stays in registers during the loop over pixels.
// The gradient of a pixel, and each input value, is loaded once for all columns of the kernel.
#pragma once

#include "maps.h"

namespace ichjax {

constexpr int MAX_VECTORS = REGISTERS == 32 ? 2 : 1;             // per block of output channels
constexpr int64_t MAX_PARTS = 32, MAX_SUM_FLOATS = 1 << 20;  // partial sums, and their total size in floats

// Input channels per block: a power of two.
constexpr int max_channels(int vectors, int width) {
  const int max = (REGISTERS - RESERVED - width * vectors) / (width * vectors);
  return max >= 8 ? 8 : max >= 4 ? 4 : max >= 2 ? 2 : 1;
}

// sums[k][j] += over rows and pixels p: x[p][j] * gradient[p + WIDTH - 1 - k], for J input channels and V vectors of
// output channels. A row of gradients starts with the zero padding to the left of the first pixel.
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
  if constexpr (V < MAX_VECTORS)
    if (vectors > V) return correlate_of<J, V + 1, WIDTH>(channels, vectors, width);
  if constexpr (WIDTH < MAX_WIDTH)
    if (width > WIDTH) return correlate_of<J, V, WIDTH + 1>(channels, vectors, width);
  if constexpr (2 * J <= max_channels(V, WIDTH))
    if (channels > J) return correlate_of<2 * J, V, WIDTH>(channels, vectors, width);
  return correlate<J, V, WIDTH>;
}

struct Correlation {
  const Map *x, *gradient, *gate;  // gate: masks the gradient, or null
  Stencil stencil;
  int64_t block_inputs;     // input channels per block
  int64_t first, channels;  // input channels of this task

  int64_t width() const { return x->width + stencil.width - 1; }
  int64_t all() const { return blocks(x->channels, block_inputs) * block_inputs; }
  int64_t vectors(int64_t block) const {
    return std::min<int64_t>(MAX_VECTORS, (padded(gradient->channels) - block) / LANES);
  }
};

// Copies rows [first, first + count) of the gradient as [block of channels][row][zeros, pixels, zeros][channels].
inline void copy_gradients(const Correlation& task, int64_t image, int64_t first, int64_t count, float* rows) {
  const Map& gradient = *task.gradient;
  const int64_t before = task.stencil.width - 1 - task.stencil.left;
  for (int64_t block = 0; block < padded(gradient.channels); block += MAX_VECTORS * LANES) {
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

// Adds rows [first, first + count) of the `height` rows copied by copy_gradients to the gradient of the bias.
inline void add_gradients(const Correlation& task, const float* rows, int64_t height, int64_t first, int64_t count,
                          float* bias) {
  const int64_t before = task.stencil.width - 1 - task.stencil.left;
  for (int64_t block = 0; block < padded(task.gradient->channels); block += MAX_VECTORS * LANES) {
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

// Adds the contribution of rows [first, first + count) of x to sums [height][width][channels][features].
inline void correlate_rows(const Correlation& task, int64_t image, int64_t first, int64_t count, float* sums,
                           float* bias) {
  const Map& x = *task.x;
  const Stencil& stencil = task.stencil;
  const int64_t padded_features = padded(task.gradient->channels), height = count + stencil.height - 1;
  const int64_t J = task.block_inputs;
  float* rows = scratch(0, height * task.width() * padded_features);
  const int64_t above = stencil.height - 1 - stencil.top;
  copy_gradients(task, image, first - above, height, rows);
  if (bias) add_gradients(task, rows, height, above, count, bias);
  float* values = scratch(1, count * x.width * J);
  for (int64_t c = task.first; c < task.first + task.channels; c += J) {
    const int64_t real = std::min(J, x.channels - c);
    float* to = values;
    for (int64_t y = first; y < first + count; ++y) {
      const float* from = x.at(image, y) + c;
      for (int64_t p = 0; p < x.width; ++p, from += x.pixel, to += J)
        for (int64_t j = 0; j < J; ++j) to[j] = j < real ? from[j] : 0.0f;
    }
    for (int64_t k = 0; k < stencil.height; ++k)
      for (int64_t block = 0; block < padded_features; block += MAX_VECTORS * LANES) {
        const int64_t row = task.width() * task.vectors(block) * LANES;
        correlate_of<1>(J, task.vectors(block), stencil.width)(
            values, rows + height * task.width() * block + (stencil.height - 1 - k) * row, row, count, x.width,
            sums + (k * stencil.width * task.all() + c) * padded_features + block, task.all() * padded_features,
            padded_features);
      }
  }
}

// Writes the gradient of the kernel [height, width, channels, features] and adds that of the bias [features].
//
// The partition of the sums depends on the shapes alone, so the result is the same on any number of threads.
inline void correlate(xla::ffi::ThreadPool& pool, Correlation task, float* kernel, float* bias) {
  const Map& x = *task.x;
  const int64_t features = task.gradient->channels, padded_features = padded(features), width = task.stencil.width;
  const int vectors = task.vectors(0);
  const int max = width == 1   ? max_channels(vectors, 1)
                  : width == 2 ? max_channels(vectors, 2)
                               : max_channels(vectors, 3);
  for (task.block_inputs = 1; task.block_inputs < max && task.block_inputs < x.channels;) task.block_inputs *= 2;
  const int64_t J = task.block_inputs, all = task.all();
  const int64_t size = (task.stencil.height * width * all + 1) * padded_features;
  const int64_t rows = rows_at_a_time(x, task.width() * padded_features, task.stencil.height - 1, 1);
  const int64_t in_image = blocks(x.height, rows), units = x.batch * in_image;
  const int64_t parts = std::clamp<int64_t>(MAX_SUM_FLOATS / size, 1, std::clamp<int64_t>(units, 1, MAX_PARTS));
  // Groups of input channels, for parallelism if there are few parts; their number does not change any sum.
  const int64_t groups = std::min(all / J, blocks(4 * pool.num_threads(), parts));
  Memory memory;
  float* sums = memory.floats(parts * size);
  in_parallel(pool, parts, [&](int64_t part) { std::fill_n(sums + part * size, size, 0.0f); });
  in_parallel(pool, parts * groups, [&](int64_t index) {
    const int64_t part = index / groups, group = index % groups;
    float* part_sums = sums + part * size;
    Correlation part_task = task;
    part_task.first = all / J * group / groups * J;
    part_task.channels = all / J * (group + 1) / groups * J - part_task.first;
    for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
      const int64_t first = unit % in_image * rows;
      correlate_rows(part_task, unit / in_image, first, std::min(rows, x.height - first), part_sums,
                     group == 0 ? part_sums + size - padded_features : nullptr);
    }
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < size; i += LANES) store(sums + i, load(sums + i) + load(sums + part * size + i));
  for (int64_t tap = 0; tap < task.stencil.height * width; ++tap)
    for (int64_t c = 0; c < x.channels; ++c)
      std::copy_n(sums + (tap * all + c) * padded_features, features, kernel + (tap * x.channels + c) * features);
  for (int64_t f = 0; f < features; ++f) bias[f] += sums[size - padded_features + f];
}

}  // namespace ichjax
