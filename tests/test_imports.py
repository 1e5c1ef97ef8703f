"""The floors of the design: imports go down, never up, and never along the ground."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "vidtldr"
FLOORS = [
    {"video", "models", "method", "ops"},
    {"hosts", "measure"},
    {"budget"},
    {"patch"},
    {"baselines", "store", "visualize"},
    {"tasks"},
    {"evaluate", "bench", "tune", "pipeline", "shapes", "export"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
TORCH_ONLY = {"method", "ops"}


def imported_modules(path: Path) -> set[str]:
    """Every module a file imports, at any depth, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: write the whole name"
            found.add(node.module or "")
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if node.module == "vidtldr"
            }
    return found


def breach(importer: str, imported: str) -> str | None:
    if importer == imported:
        return None
    if FLOOR_OF[imported] > FLOOR_OF[importer]:
        return "up"
    if FLOOR_OF[imported] == FLOOR_OF[importer] == 0:
        return "along the ground"
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_floors(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    assert room in FLOOR_OF, f"{room} is on no floor: add it to the design first"
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "vidtldr" and len(parts) > 1 and parts[1] in FLOOR_OF:
            assert breach(room, parts[1]) is None, (
                f"{path} imports {module}: {breach(room, parts[1])}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_method_and_ops_know_torch_and_no_model(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] not in TORCH_ONLY:
        return
    import sys

    for module in imported_modules(path):
        top = module.split(".")[0]
        assert top in {"torch", "triton", "vidtldr"} or top in sys.stdlib_module_names, (
            f"{path}: {module}"
        )


def test_the_check_itself_sees_a_breach() -> None:
    assert breach("method", "hosts") == "up"
    assert breach("ops", "method") == "along the ground"
    assert breach("hosts", "method") is None
    assert breach("cli", "bench") is None
