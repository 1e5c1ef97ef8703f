"""What an engine must be told about a merging model that was handed to it."""

from vidtldr.export.openvino import keep_float32
from vidtldr.exporting import merging_by_product

__all__ = ["keep_float32", "merging_by_product"]
