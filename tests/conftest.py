"""Every test runs with several CPU devices, strict rank promotion, and warnings as errors."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling makes first examples slow, and the machine may be busy: no deadline, and the same examples every run.
hypothesis.settings.register_profile("ichjax", deadline=None, derandomize=True, max_examples=20)
hypothesis.settings.load_profile("ichjax")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps the tests out of the user's cache folder."""
    os.environ["ICHJAX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
