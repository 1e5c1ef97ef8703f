"""Baselines for merging, on the same weights: other ways to make a model cheaper."""
