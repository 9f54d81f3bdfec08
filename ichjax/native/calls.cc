// XLA FFI handlers (jax.ffi): convolutions of float32 maps [B, H, W, C] on a CPU, and their gradients.
//
// 'Same' convolutions with kernels [1 to 3, 1 to 3, C, F]; a kernel of even size reaches one pixel further to the lower
// right. After a ReLU, gradients are masked by the layer's output (`gate`). calls.py documents the shapes.
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

Stencil stencil_of(const Floats& kernel) {
  const int64_t height = kernel.dimensions()[0], width = kernel.dimensions()[1];
  return {height, width, (height - 1) / 2, (width - 1) / 2};
}

// The stencil of the transposed convolution.
Stencil transposed(Stencil stencil) {
  return {stencil.height, stencil.width, stencil.height - 1 - stencil.top, stencil.width - 1 - stencil.left};
}

// Runs `work`; an allocation failure becomes an XLA error, as in XLA's own programs.
template <typename Work>
ffi::Error catch_bad_alloc(const Work& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory in an ichjax convolution");
  }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, Floats x, Floats skip, Floats kernel, Floats bias, Result y, bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(x), second = map_of(skip), out = map_of(*y);
    convolve(pool, {&in, second.batch ? &second : nullptr, nullptr, &out, stencil_of(kernel), relu, false},
             kernel.typed_data(), bias.typed_data());
  });
}

// `kernel` is already mirrored, with input and output channels swapped.
ffi::Error InputGradient(ffi::ThreadPool pool, Floats gradient, Floats y, Floats kernel, Result dx, bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(gradient), gate = map_of(y), out = map_of(*dx);
    convolve(pool, {&in, nullptr, relu ? &gate : nullptr, &out, transposed(stencil_of(kernel)), false, false},
             kernel.typed_data(), nullptr);
  });
}

ffi::Error KernelGradient(ffi::ThreadPool pool, Floats x, Floats gradient, Floats y, Result dkernel, Result dbias,
                          bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(x), dy = map_of(gradient), gate = map_of(y);
    std::fill_n(dbias->typed_data(), dy.channels, 0.0f);
    correlate(pool, {&in, &dy, relu ? &gate : nullptr, stencil_of(*dkernel), 0, 0, 0}, dkernel->typed_data(),
              dbias->typed_data());
  });
}

// Convolution of the map upsampled 2 x: each parity of output row and column has its own kernel.
ffi::Error UpConvolve(ffi::ThreadPool pool, Floats x, Floats even_even, Floats even_odd, Floats odd_even,
                      Floats odd_odd, Floats bias, Result y, bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(x), out = map_of(*y);
    const Floats* kernels[] = {&even_even, &even_odd, &odd_even, &odd_odd};
    for (int i = 0; i < 4; ++i) {
      const Map part = parity_grid(out, i / 2, i % 2);
      convolve(pool, {&in, nullptr, nullptr, &part, stencil_of(*kernels[i]), relu, false}, kernels[i]->typed_data(),
               bias.typed_data());
    }
  });
}

ffi::Error UpInputGradient(ffi::ThreadPool pool, Floats gradient, Floats y, Floats even_even, Floats even_odd,
                           Floats odd_even, Floats odd_odd, Result dx, bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(gradient), outputs = map_of(y), out = map_of(*dx);
    const Floats* kernels[] = {&even_even, &even_odd, &odd_even, &odd_odd};
    for (int i = 0; i < 4; ++i) {
      const Map part = parity_grid(in, i / 2, i % 2), gate = parity_grid(outputs, i / 2, i % 2);
      convolve(pool, {&part, nullptr, relu ? &gate : nullptr, &out, transposed(stencil_of(*kernels[i])), false, i > 0},
               kernels[i]->typed_data(), nullptr);
    }
  });
}

ffi::Error UpKernelGradient(ffi::ThreadPool pool, Floats x, Floats gradient, Floats y, Result even_even,
                            Result even_odd, Result odd_even, Result odd_odd, Result dbias, bool relu) {
  return catch_bad_alloc([&] {
    const Map in = map_of(x), dy = map_of(gradient), outputs = map_of(y);
    Result* kernels[] = {&even_even, &even_odd, &odd_even, &odd_odd};
    std::fill_n(dbias->typed_data(), dy.channels, 0.0f);
    for (int i = 0; i < 4; ++i) {
      const Map part = parity_grid(dy, i / 2, i % 2), gate = parity_grid(outputs, i / 2, i % 2);
      correlate(pool, {&in, &part, relu ? &gate : nullptr, stencil_of(**kernels[i]), 0, 0, 0},
                (*kernels[i])->typed_data(), dbias->typed_data());
    }
  });
}

}  // namespace

#define POOL ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
#define IN .Arg<Floats>()
#define OUT .Ret<Floats>()
#define RELU .Attr<bool>("relu")
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_convolve, Forward, POOL IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_input_gradient, InputGradient, POOL IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_kernel_gradient, KernelGradient, POOL IN IN IN OUT OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up_convolve, UpConvolve, POOL IN IN IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up_input_gradient, UpInputGradient, POOL IN IN IN IN IN IN OUT RELU);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ichjax_up_kernel_gradient, UpKernelGradient, POOL IN IN IN OUT OUT OUT OUT OUT RELU);
