"""C++ attention with a score for CPUs, built at first use if there is a compiler."""
