from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import Factors, Split, draw_factors


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small operations: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def drawn() -> Callable[..., tuple[Draws, Factors]]:
    """Returns `drawn(count, split)`: random numbers and factors of the first clips."""

    def draw(count: int, split: Split = "train") -> tuple[Draws, Factors]:
        draws = Draws(0, split, torch.arange(count))
        return draws, draw_factors(draws, split)

    return draw


@pytest.fixture
def assert_even() -> Callable[[Tensor, int], None]:
    """Chi-square of counts against even ones; six sigma, so that no honest draw fails."""

    def check(values: Tensor, count: int) -> None:
        counts = values.bincount(minlength=count).double()
        assert len(counts) == count
        expected = len(values) / count
        chi_square = ((counts - expected) ** 2 / expected).sum().item()
        freedom = count - 1
        assert chi_square < freedom + 6 * (2 * freedom) ** 0.5 + 12, counts.tolist()

    return check
