"""`vidtldr index`."""
