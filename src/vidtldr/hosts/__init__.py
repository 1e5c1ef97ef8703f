"""Glue to the models that merging is applied to: how one family's block is walked. No maths."""
