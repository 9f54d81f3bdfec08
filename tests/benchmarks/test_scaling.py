"""Bytes of all-reduces, parsed from compiled programs."""

import jax
import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.scaling import all_reduced_bytes
from ichjax.train import parallel


def test_bytes_of_a_hand_written_program():
    text = """
  %a = f32[2,3]{1,0} all-reduce(%x), replica_groups={}
  %b = (f32[10]{0}, /*index=1*/bf16[4]{0}) all-reduce-start(%y, %z)
  %c = (f32[10]{0}, bf16[4]{0}) all-reduce-done(%b)
  ROOT %d = f32[7]{0} add(%e, %all-reduce.3)
"""
    assert all_reduced_bytes(text) == 2 * 3 * 4 + 10 * 4 + 4 * 2


def test_bytes_of_a_compiled_program():
    mesh = parallel.make_mesh(jax.devices()[:2])
    split, whole = PartitionSpec(parallel.AXIS), PartitionSpec()
    both = {"a": split, "b": split}
    summed = jax.shard_map(
        lambda x: jax.lax.psum(x, parallel.AXIS), mesh=mesh, in_specs=(both,), out_specs={"a": whole, "b": whole}
    )
    arrays = {"a": np.ones((2, 5), np.float32), "b": np.ones((2, 3, 7), np.float32)}
    assert all_reduced_bytes(jax.jit(summed).lower(arrays).compile().as_text()) == 4 * (5 + 21)
