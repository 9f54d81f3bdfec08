"""Convolutions in C++ for CPUs, compiled on the machine where they run; without a compiler XLA's serve."""
