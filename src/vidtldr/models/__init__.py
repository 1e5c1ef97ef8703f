"""Video models that no library ships; `vidtldr.hosts` merges their tokens."""
