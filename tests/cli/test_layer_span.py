import pytest

from vidtldr.cli.terminal import layer_span


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        (None, ""),
        ((3,), "3"),
        ((0, 1), "0-1"),
        ((2, 3, 4), "2-4"),
        ((0, 2), "0,2"),
        ((0, 2, 4), "0,2,4"),
        ((1, 3, 5, 7), "1,3..7"),
        ((0, 3, 6, 9), "0,3..9"),
        ((0, 1, 3, 5), "0,1,3,5"),
        ((1, 3, 5, 8), "1,3,5,8"),
    ],
)
def test_layers_are_shown_shortly_and_none_is_lost(
    layers: tuple[int, ...] | None, shown: str
) -> None:
    assert layer_span(layers) == shown
