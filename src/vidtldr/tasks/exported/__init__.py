"""Run models that `vidtldr export` wrote: in ONNX Runtime, OpenVINO or torch."""
