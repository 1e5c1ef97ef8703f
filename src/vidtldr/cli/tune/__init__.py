"""`vidtldr tune`."""
