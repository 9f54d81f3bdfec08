// What XLA calls (jax.ffi): convolutions of float32 maps [B, H, W, C] on a CPU, and their gradients.
//
// Kernels are 'same', [1 to 3, 1 to 3, C, F]; one of even size reaches one pixel further to the lower right. A gradient
// takes the layer's output as gate where it ended in a ReLU. calls.py has the shapes.
#include "convolve.h"
#include "correlate.h"

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Floats>;
using namespace ichjax;

namespace {

Map map_of(const Floats& buffer) {
  const auto s = buffer.dimensions();
  return {buffer.typed_data(), s[0], s[1], s[2], s[3], s[3], s[2] * s[3], s[1] * s[2] * s[3]};
}

Window window_of(const Floats& kernel) {
  const int64_t height = kernel.dimensions()[0], width = kernel.dimensions()[1];
  return {height, width, (height - 1) / 2, (width - 1) / 2};
}

// Seen from the other side, a kernel reaches as far as it did not reach before.
Window mirrored(Window window) {
  return {window.height, window.width, window.height - 1 - window.top, window.width - 1 - window.left};
}

// Runs `work`; memory that is not there becomes an error of XLA's, as with its own programs.
template <typename Work>
ffi::Error guarded(const Work& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory in a convolution of ichjax");
  }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, Floats x, Floats beside, Floats kernel, Floats bias, Result y, bool relu) {
  return guarded([&] {
    const Map in = map_of(x), more = map_of(beside), out = map_of(*y);
    convolve(pool, {&in, more.batch ? &more : nullptr, nullptr, &out, window_of(kernel), relu, false},
             kernel.typed_data(), bias.typed_data());
  });
}

// `kernel` is mirrored, its channels swapped.
ffi::Error OfInput(ffi::ThreadPool pool, Floats gradient, Floats y, Floats kernel, Result of_x, bool relu) {
  return guarded([&] {
    const Map in = map_of(gradient), gate = map_of(y), out = map_of(*of_x);
    convolve(pool, {&in, nullptr, relu ? &gate : nullptr, &out, mirrored(window_of(kernel)), false, false},
             kernel.typed_data(), nullptr);
  });
}

ffi::Error OfKernel(ffi::ThreadPool pool, Floats x, Floats gradient, Floats y, Result of_kernel, Result of_bias,
                    bool relu) {
  return guarded([&] {
    const Map in = map_of(x), given = map_of(gradient), gate = map_of(y);
    std::fill_n(of_bias->typed_data(), given.channels, 0.0f);
    correlate(pool, {&in, &given, relu ? &gate : nullptr, window_of(*of_kernel), 0, 0, 0}, of_kernel->typed_data(),
              of_bias->typed_data());
  });
}

// The map upsampled to twice its side and convolved: each kind of output pixel has a kernel of its own.
ffi::Error Up(ffi::ThreadPool pool, Floats x, Floats both, Floats right, Floats down, Floats neither, Floats bias,
              Result y, bool relu) {
  return guarded([&] {
    const Map in = map_of(x), out = map_of(*y);
    const Floats* kernels[] = {&both, &right, &down, &neither};
    for (int i = 0; i < 4; ++i) {
      const Map part = quarter(out, i / 2, i % 2);
      convolve(pool, {&in, nullptr, nullptr, &part, window_of(*kernels[i]), relu, false}, kernels[i]->typed_data(),
               bias.typed_data());
    }
  });
}

ffi::Error UpOfInput(ffi::ThreadPool pool, Floats gradient, Floats y, Floats both, Floats right, Floats down,
                     Floats neither, Result of_x, bool relu) {
  return guarded([&] {
    const Map in = map_of(gradient), gates = map_of(y), out = map_of(*of_x);
    const Floats* kernels[] = {&both, &right, &down, &neither};
    for (int i = 0; i < 4; ++i) {
      const Map part = quarter(in, i / 2, i % 2), gate = quarter(gates, i / 2, i % 2);
      convolve(pool, {&part, nullptr, relu ? &gate : nullptr, &out, mirrored(window_of(*kernels[i])), false, i > 0},
               kernels[i]->typed_data(), nullptr);
    }
  });
}

ffi::Error UpOfKernel(ffi::ThreadPool pool, Floats x, Floats gradient, Floats y, Result both, Result right, Result down,
                      Result neither, Result of_bias, bool relu) {
  return guarded([&] {
    const Map in = map_of(x), given = map_of(gradient), gates = map_of(y);
    Result* kernels[] = {&both, &right, &down, &neither};
    std::fill_n(of_bias->typed_data(), given.channels, 0.0f);
    for (int i = 0; i < 4; ++i) {
      const Map part = quarter(given, i / 2, i % 2), gate = quarter(gates, i / 2, i % 2);
      correlate(pool, {&in, &part, relu ? &gate : nullptr, window_of(**kernels[i]), 0, 0, 0},
                (*kernels[i])->typed_data(), of_bias->typed_data());
    }
  });
}

}  // namespace

#define POOL ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
#define IN .Arg<Floats>()
#define OUT .Ret<Floats>()
#define RELU .Attr<bool>("relu")
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_convolve, Forward, POOL IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_of_input, OfInput, POOL IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_of_kernel, OfKernel, POOL IN IN IN OUT OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up, Up, POOL IN IN IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up_of_input, UpOfInput, POOL IN IN IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up_of_kernel, UpOfKernel, POOL IN IN IN OUT OUT OUT OUT OUT RELU);
