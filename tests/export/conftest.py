"""Before anything imports OpenVINO, which would send that it was imported."""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
