"""`vidtldr ask`."""
