"""`vidtldr evaluate`."""
