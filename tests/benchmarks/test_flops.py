"""Operations counted from a program's shapes, against values by hand and against sums of ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec

from benchmarks.flops import count_flops
from ichjax.train.parallel import AXIS, make_mesh

LAYOUT = ("NHWC", "HWIO", "NHWC")
IMAGE, KERNEL = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
CONVOLUTION = 200  # of IMAGE with KERNEL, 'same': 3 + 3 + 2 + 2 taps inside along each axis, 100 multiply-adds
SQUARE = jnp.ones((3, 3))
PRODUCT = 54  # SQUARE by itself: 3 x 3 x 3 multiply-adds


def flops_of(function, *arguments):
    return count_flops(jax.jit(function).trace(*arguments).jaxpr)


def convolve(image, kernel, strides=(1, 1), padding="SAME", **more):
    return lax.conv_general_dilated(image, kernel, strides, padding, dimension_numbers=LAYOUT, **more)


@pytest.mark.parametrize(
    ("subscripts", "left", "right", "expected"),
    [
        ("ij,jk->ik", (3, 4), (4, 5), 2 * 3 * 4 * 5),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5), 2 * 2 * 3 * 4 * 5),
        ("ijk,jkl->il", (2, 3, 4), (3, 4, 5), 2 * 2 * 12 * 5),
        ("i,i->", (7,), (7,), 2 * 7),
        ("i,j->ij", (3,), (4,), 2 * 12),
    ],
)
def test_matrix_products_by_hand(subscripts, left, right, expected):
    assert flops_of(functools.partial(jnp.einsum, subscripts), jnp.ones(left), jnp.ones(right)) == expected


@pytest.mark.parametrize(
    ("image", "kernel", "options", "expected"),
    [
        ((1, 4, 4, 1), (3, 3, 1, 1), {}, CONVOLUTION),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"padding": "VALID"}, 2 * 4 * 9),
        ((2, 4, 4, 3), (3, 3, 3, 5), {}, CONVOLUTION * 2 * 3 * 5),
        ((1, 5, 5, 1), (3, 3, 1, 1), {"padding": "VALID", "strides": (2, 2)}, 2 * 4 * 9),
        ((1, 4, 6, 1), (1, 1, 1, 1), {}, 2 * 24),
        ((1, 4, 6, 1), (2, 2, 1, 1), {}, 2 * (4 + 3) * (6 + 5)),  # the last row and column lack a tap
        # pixels at 0, 2 and 4: two, one and two of them under the three taps of the kernel
        ((1, 3, 3, 1), (3, 3, 1, 1), {"padding": ((0, 0), (0, 0)), "lhs_dilation": (2, 2)}, 2 * 5 * 5),
        ((1, 5, 5, 1), (3, 3, 1, 1), {"padding": "VALID", "rhs_dilation": (2, 2)}, 2 * 9),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"padding": ((-1, 0), (0, 0))}, 2 * 3 * 6),  # 3 rows left, so one row of output
        ((1, 4, 4, 4), (3, 3, 2, 6), {"feature_group_count": 2}, CONVOLUTION * 2 * 6),
        ((4, 4, 4, 1), (3, 3, 1, 6), {"batch_group_count": 2}, CONVOLUTION * 2 * 6),
    ],
)
def test_convolutions_by_hand(image, kernel, options, expected):
    assert flops_of(functools.partial(convolve, **options), jnp.ones(image), jnp.ones(kernel)) == expected


SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))
STEPS = st.tuples(st.integers(1, 3), st.integers(1, 3))
ZEROS = st.tuples(st.integers(-1, 3), st.integers(-1, 3))


@given(SIDES, SIDES, STEPS, STEPS, STEPS, ZEROS, ZEROS, st.sampled_from([(1, 1), (2, 1), (1, 2)]))
def test_a_convolution_of_ones_sums_to_its_multiplications(image, kernel, strides, spread, holes, top, left, groups):
    features, batches = groups
    program = jax.jit(
        functools.partial(
            convolve,
            strides=strides,
            padding=(top, left),
            lhs_dilation=spread,
            rhs_dilation=holes,
            feature_group_count=features,
            batch_group_count=batches,
        )
    )
    arguments = jnp.ones((2, *image, 2)), jnp.ones((*kernel, 2 // features, 4))
    products = float(np.asarray(program(*arguments), np.float64).sum())  # each is 1 x 1, or 1 x 0 beyond the image
    assert count_flops(program.trace(*arguments).jaxpr) == 2 * products


@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "SAME"), ((2, 1), "VALID"), ((2, 2), "SAME")])
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(strides, padding):
    image, kernel = jnp.ones((2, 5, 7, 3)), jnp.ones((3, 3, 3, 4))
    forward = functools.partial(convolve, strides=strides, padding=padding)
    once = flops_of(forward, image, kernel)

    def loss(image, kernel):
        return (forward(image, kernel) ** 2).sum()

    assert flops_of(jax.grad(loss, argnums=1), image, kernel) == 2 * once  # the output and the kernel's gradient
    assert flops_of(jax.value_and_grad(loss, argnums=(0, 1)), image, kernel) == 3 * once


def test_gradient_of_a_matrix_product_by_hand():
    left, right = jnp.ones((3, 4)), jnp.ones((4, 5))
    gradient = jax.grad(lambda left, right: jnp.sin(left @ right).sum(), argnums=(0, 1))
    assert flops_of(gradient, left, right) == 3 * 2 * 3 * 4 * 5


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, jax.custom_vjp, jax.custom_jvp])
def test_operations_inside_calls_are_counted(wrap):
    inner = wrap(lambda x: x @ x)
    if wrap is jax.custom_vjp:
        inner.defvjp(lambda x: (x @ x, x), lambda x, out: (out @ x.T,))
    if wrap is jax.custom_jvp:
        inner.defjvp(lambda x, dx: (x[0] @ x[0], dx[0] @ x[0]))
    assert flops_of(lambda x: inner(x) @ inner(x), SQUARE) == 3 * PRODUCT


def test_a_loop_body_counts_once_per_iteration():
    def step(carry, _):
        image, matrix = carry
        return (convolve(image, KERNEL), matrix @ matrix), None

    def loop(image, matrix):
        return lax.scan(step, (image, matrix), length=5)[0]

    assert flops_of(loop, IMAGE, SQUARE) == 5 * (CONVOLUTION + PRODUCT)
    assert flops_of(lambda x: lax.fori_loop(0, 3, lambda _, y: y @ y, x), SQUARE) == 3 * PRODUCT
    twice = jax.jit(lambda x: lax.scan(lambda y, _: (loop(IMAGE, y)[1], None), x, length=2)[0])
    assert flops_of(twice, SQUARE) == 2 * 5 * PRODUCT  # the images are not used
    gradient = jax.grad(lambda kernel: lax.scan(lambda x, _: (convolve(x, kernel), None), IMAGE, length=5)[0].sum())
    assert flops_of(gradient, KERNEL) == 3 * 5 * CONVOLUTION


def test_the_costliest_branch_of_a_cond_counts():
    branches = [lambda x: x, lambda x: x @ x @ x, lambda x: x @ x]
    assert flops_of(lambda i, x: lax.switch(i, branches, x), 0, SQUARE) == 2 * PRODUCT


def test_dead_code_is_not_counted():
    @jax.custom_vjp
    def product(left, right):
        return left @ right

    product.defvjp(lambda x, y: (x @ y, (x, y)), lambda kept, out: (out @ kept[1].T, kept[0].T @ out))

    def gradient(x, y):
        return jax.grad(lambda x: (product(x, y) ** 2).sum())(x)

    assert flops_of(gradient, SQUARE, SQUARE) == 2 * PRODUCT  # the product itself, and one of its two gradients
    assert flops_of(lambda x: (x @ x, x + 1)[1], SQUARE) == 0


def test_elementwise_operations_and_reductions_are_not_counted():
    assert flops_of(lambda x: jnp.exp(x).sum() + x.max() + jnp.cumsum(x.ravel())[-1], SQUARE) == 0


def while_small(step):
    """A function that applies `step` until the first number is 100 or more."""
    return functools.partial(lax.while_loop, lambda x: x[0, 0] < 100, step)


def test_uncountable_programs_are_refused():
    with pytest.raises(ValueError, match="while loop: its number of iterations is unknown"):
        flops_of(while_small(lambda x: x @ x), SQUARE)
    assert flops_of(lambda x: while_small(lambda y: 2 * y)(x) @ x, SQUARE) == PRODUCT
    call = jax.ffi.ffi_call("ichjax_convolve", jax.ShapeDtypeStruct((3, 3), jnp.float32))
    with pytest.raises(ValueError, match=r"cannot count the operations of ffi_call ichjax_convolve$"):
        flops_of(lambda x: call(x), SQUARE)
    mesh, rows = make_mesh(jax.devices()[:1]), PartitionSpec(AXIS)
    with pytest.raises(ValueError, match=r"cannot count the operations of shard_map$"):
        flops_of(jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=rows, out_specs=rows), SQUARE)
