"""XLA flags of the tests: compile fast, because compiling takes far longer here than running."""

import importlib.metadata

FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
# compiler_options of a jit that must be compiled as for users, where behavior or bits depend on the code generator.
AS_USERS = {}
if importlib.metadata.version("jax").startswith("0.10."):  # a third faster to compile; XLA aborts on unknown flags
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_USERS["xla_cpu_use_fusion_emitters"] = True
