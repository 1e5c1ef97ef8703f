"""`vidtldr embed`."""
