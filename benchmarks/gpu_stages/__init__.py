"""The stages of `benchmarks/gpu.py` and the code that runs them."""
