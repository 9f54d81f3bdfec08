"""How the tests have XLA compile: fast, since that takes far longer here than running what was compiled."""

import importlib.metadata

FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
# For what only the code generator that users have does, or does to the bit: compiler_options of such a jit.
AS_USERS = {}
if importlib.metadata.version("jax").startswith("0.10."):  # a third less to compile; XLA dies of flags it does not know
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_USERS["xla_cpu_use_fusion_emitters"] = True
