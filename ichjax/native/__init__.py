"""Optional C++ convolutions for CPUs, compiled on the machine that runs them; XLA's are used without a compiler."""
