"""What a forward costs: floating-point operations, time and memory."""
