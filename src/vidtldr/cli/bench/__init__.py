"""`vidtldr bench`."""
