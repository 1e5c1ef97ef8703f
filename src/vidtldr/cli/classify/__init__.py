"""`vidtldr classify`."""
