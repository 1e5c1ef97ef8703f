"""`vidtldr demo` and `vidtldr shapes`."""
