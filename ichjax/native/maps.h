// Feature maps in memory, scratch memory, and parallel loops over tasks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace ichjax {

// LANES: floats per vector register. REGISTERS: their number. VECTORS: registers per block of output channels.
#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32, VECTORS = 2;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16, VECTORS = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32, VECTORS = 4;
#else
constexpr int LANES = 4, REGISTERS = 16, VECTORS = 2;
#endif
constexpr int RESERVED = 2;             // registers: for the broadcast input value, and one halo
constexpr int MAX_WIDTH = 3;            // columns of a kernel
constexpr int64_t SCRATCH = 48 * 1024;  // floats that fit a core's L2 cache

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
inline int64_t blocks(int64_t length, int64_t size) { return (length + size - 1) / size; }
inline int64_t padded(int64_t channels) { return blocks(channels, LANES) * LANES; }

// A map [batch, height, width, channels]; pixel, row and image are strides in floats.
struct Map {
  float* data;
  int64_t batch, height, width, channels, pixel, row, image;

  float* at(int64_t number, int64_t y) const { return data + number * image + y * row; }
};

// The pixels (2 i + y, 2 j + x) of a map, as a map of half the size.
inline Map parity_grid(Map map, int y, int x) {
  map.data += y * map.row + x * map.pixel;
  map.height /= 2, map.width /= 2, map.row *= 2, map.pixel *= 2;
  return map;
}

// A kernel's size, and its reach above and to the left of a pixel.
struct Stencil {
  int64_t height, width, top, left;
};

// Growing buffer, aligned to 64 bytes.
class Memory {
 public:
  float* floats(int64_t size) {
    if (size > size_) {
      size_ = 0;
      data_.reset(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64)));
      if (!data_) throw std::bad_alloc();
      size_ = size;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t size_ = 0;
};

// Thread-local buffers, buffers between calls.
inline float* scratch(int which, int64_t size) {
  thread_local Memory buffers[2];
  return buffers[which].floats(size);
}

// Calls work(task) for each task, on this thread and on free threads of XLA's pool. This thread takes part, so the loop
// ends even if the pool is busy; a helper that starts late gets no task and touches only the counts.
// Throws std::bad_alloc after all tasks have ended, if one of them did.
template <typename Work>
void in_parallel(xla::ffi::ThreadPool& pool, int64_t tasks, const Work& work) {
  struct Counts {
    std::atomic<int64_t> next{0}, done{0};
    std::atomic<bool> failed{false};
  };
  auto counts = std::make_shared<Counts>();
  auto help = [counts, tasks, work = &work] {
    for (int64_t task; (task = counts->next.fetch_add(1)) < tasks;) {
      try {
        (*work)(task);
      } catch (...) {
        counts->failed.store(true);
      }
      counts->done.fetch_add(1, std::memory_order_release);
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), tasks) - 1;
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(help));
  } catch (const std::bad_alloc&) {
    // continue with fewer helpers
  }
  help();
  while (counts->done.load(std::memory_order_acquire) < tasks) std::this_thread::yield();
  if (counts->failed.load()) throw std::bad_alloc();
}

// Copies the pixels of a row to `to`, `pixel` floats apart. With a gate (the output of a ReLU), values become 0 where
// the gate is not positive: the gradient of the ReLU.
inline void copy_row(const Map& map, const float* from, const float* gate, float* to, int64_t pixel) {
  const int64_t channels = map.channels;
  if (!gate && map.pixel == channels && pixel == channels) {
    std::memcpy(to, from, map.width * channels * sizeof(float));
    return;
  }
  for (int64_t x = 0; x < map.width; ++x, from += map.pixel, to += pixel) {
    if (gate) {
      for (int64_t c = 0; c < channels; ++c) to[c] = gate[c] > 0.0f ? from[c] : 0.0f;
      gate += map.pixel;
    } else {
      std::memcpy(to, from, channels * sizeof(float));
    }
  }
}

// Rows per task: as many as fit the cache with their `halo` rows, but few enough to occupy all threads.
inline int64_t rows_at_a_time(const Map& map, int64_t row_floats, int64_t halo, int64_t threads) {
  int64_t rows = std::clamp<int64_t>(SCRATCH / row_floats - halo, 1, map.height);
  while (rows > 2 && map.batch * blocks(map.height, rows) < 4 * threads) rows = (rows + 1) / 2;
  return rows;
}

}  // namespace ichjax
