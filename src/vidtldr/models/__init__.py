"""Video models that no library ships; what merges their tokens lives in `vidtldr.hosts`."""
