"""Operators that the method needs and PyTorch does not have."""
