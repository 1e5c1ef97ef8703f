"""The cost of a forward: floating-point operations, time and memory."""
