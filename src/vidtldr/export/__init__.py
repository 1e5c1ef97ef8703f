"""What an engine must be told about a merging model that was handed to it."""

from vidtldr.export.openvino import keep_float32

__all__ = ["keep_float32"]
