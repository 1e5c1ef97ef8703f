"""Many videos into an index: on one machine (`local`) or on many (`ray`).

Files are found (`discover`), compared with the index (`plan`), read by worker processes
(`decode_worker`), encoded by one more for each GPU (`encode_worker`), and written by the one
process that holds the index's lock.
"""
