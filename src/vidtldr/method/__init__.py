"""vid-TLDR, a file a step: saliency, matching, merging, source maps, schedules.

Pure functions on tensors. They know no model and no attention kernel, and `schedule.py` needs no
torch.
"""
