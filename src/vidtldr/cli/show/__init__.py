"""`vidtldr show`."""
