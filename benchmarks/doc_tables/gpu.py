"""Whether anything has been measured on a GPU yet."""

from doc_tables.results import RESULTS, read

FOLDER = RESULTS / "gpu"


def gpu() -> str:
    """Say that nothing has been, until `benchmarks/gpu.py` has written a file."""
    names = []
    for path in sorted(FOLDER.glob("**/environment.json")):
        found = read(path.relative_to(RESULTS).with_suffix("").as_posix())["result"]
        if "gpu" in found and not found["is_smoke"]:
            names.append(found["device"])
    if not names:
        return "**It has not run on a GPU yet.** All measurements are on CPU."
    return f"It has run on {', '.join(dict.fromkeys(names))}; the speed-ups shown are on CPU."
