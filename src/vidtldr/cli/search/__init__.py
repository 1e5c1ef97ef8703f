"""`vidtldr search`."""
