"""`vidtldr demo`."""
