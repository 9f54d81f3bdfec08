"""The text of compiled programs is read as a person would: by hand-made programs, and one that XLA compiled here."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import compiled_text

PROGRAM = """
HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused (p: bf16[2,8]) -> bf16[2,8] {
  %p = bf16[2,8]{1,0} parameter(0)
  %wide = f64[2,8]{1,0} convert(%p)
  ROOT %out = bf16[2,8]{1,0} convert(%wide)
}

%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[], f32[4]{0}) parameter(0)
  %value = f32[4]{0} get-tuple-element(%state), index=1
  %moved = f32[4]{0} copy(%value), metadata={op_name="jit(step)/while/body/patch/copy"}
  ROOT %next = (s32[], f32[4]{0}) tuple(%value, %moved)
}

ENTRY %main (x: bf16[2,8], s: (s32[], f32[4])) -> bf16[2,8] {
  %x = bf16[2,8]{1,0:T(8,128)(2,1)} parameter(0)
  %s = (s32[], f32[4]{0}) parameter(1)
  %loop = (s32[], f32[4]{0}) while(%s), condition=%condition, body=%body
  %conv = (bf16[2,8,8,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %x), custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/up1/conv_general_dilated"}, backend_config={"estimated_cycles":"120"}
  %host = f32[4]{0} custom-call(%x), custom_call_target="xla_ffi_python_cpu_callback"
  %two = (bf16[2,8]{1,0}, pred[2,8]{1,0}) fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/relu/max"}, backend_config={"estimated_cycles":"3"}
  %started = (f32[100]{0}, f32[100]{0}) all-reduce-start(%x), to_apply=%add
  %done = f32[100]{0} all-reduce-done(%started)
  %loss = f32[] all-reduce(%x), to_apply=%add
  ROOT %result = bf16[2,8]{1,0} copy(%x)
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def program():
    return compiled_text.instructions(PROGRAM)


def test_only_what_runs_on_its_own_counts(program):
    assert {one.name for one in program}.isdisjoint({"sum", "wide", "out"})
    assert {"moved", "conv", "two", "result"} <= {one.name for one in program}


def test_bytes_are_those_of_all_results(program):
    assert compiled_text.written_bytes(program, "fusion") == 2 * 8 * 2 + 2 * 8
    assert compiled_text.written_bytes(program, "copy") == 4 * 4 + 2 * 8 * 2
    assert next(one for one in program if one.name == "conv").shapes == (("bf16", (2, 8, 8, 4)), ("u8", (0,)))


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("pred", 1), ("s4", 0.5), ("bf16", 2), ("f32", 4), ("s64", 8), ("c64", 8), ("f8e4m3fn", 1), ("token", 0)],
)
def test_bytes_of_an_element(dtype, size):
    assert compiled_text.size_of(dtype) == size


def test_library_calls_and_calls_of_the_host(program):
    assert compiled_text.library_calls(program) == {"convForward": 1}
    assert compiled_text.callbacks(program) == ["xla_ffi_python_cpu_callback"]


def test_an_asynchronous_pair_is_one_collective(program):
    assert [one.name for one in compiled_text.collectives(program)] == ["started", "loss"]
    assert compiled_text.collective_bytes(program) == 400 + 4


def test_operations_in_float64_count_inside_of_fusions_too():
    assert compiled_text.in_float64(PROGRAM) == 1


def test_estimated_cycles_are_summed():
    assert compiled_text.estimated_cycles(PROGRAM) == 123


def test_what_writes_most_comes_first_by_its_source(program):
    first, *others = compiled_text.largest(program, 3)
    assert first == ("convForward up1/conv_general_dilated", 2 * 8 * 8 * 4 * 2, 1)
    assert [name for name, *_ in others] == ["all-reduce-start", "all-reduce-done"]


def test_a_program_that_was_compiled_here():
    def step(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y @ y), x), x.astype(jnp.int8)

    text = jax.jit(step).lower(jnp.ones((16, 16))).compile().as_text()
    found = compiled_text.instructions(text)
    assert {"parameter", "while"} <= {one.kind for one in found}
    assert 1024 in {one.bytes for one in found if one.kind == "parameter"}
    assert compiled_text.in_float64(text) == 0
