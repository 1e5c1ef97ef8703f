"""Operators that the method needs and PyTorch lacks."""
