"""The oldest versions that pyproject.toml admits are those that `make test-oldest` installs."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from support.shown_pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def _pins(name: str) -> dict[str, Version]:
    """Versions that a file of constraints fixes, by the names of their packages."""
    lines = (ROOT / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): _only_version(pin, "==") for pin in pins}


def _only_version(need: Requirement, operator: str) -> Version:
    [version] = [part.version for part in need.specifier if part.operator == operator]
    return Version(version)


def _floors(needs: list[str]) -> dict[str, Version]:
    """The oldest version of each package, this one left out."""
    return {
        canonicalize_name(need.name): _only_version(need, ">=")
        for need in map(Requirement, needs)
        if need.name != PROJECT["name"]
    }


@pytest.mark.parametrize(
    "needs",
    [PROJECT["dependencies"], EXTRAS["search"], EXTRAS["plots"], EXTRAS["report"]],
    ids=["always", "search", "plots", "report"],
)
def test_the_oldest_versions_are_those_that_are_tested(needs: list[str]) -> None:
    pins, floors = _pins("constraints-oldest.txt"), _floors(needs)
    assert floors
    assert floors == {name: pins.get(name) for name in floors}
