from collections.abc import Callable
from zlib import crc32

import pytest
import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws

BITS = 2**64 - 1
STEP = 0x9E3779B97F4A7C15


def mix_reference(x: int) -> int:
    """SplitMix64 in plain ints."""
    x = (x + STEP) & BITS
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def uniform_reference(seed: int, split: str, index: int, name: str, count: int) -> list[float]:
    key = mix_reference((mix_reference(seed * 2**32 + crc32(split.encode())) + index) & BITS)
    start = ((key ^ crc32(name.encode())) * STEP) & BITS
    return [(mix_reference((start + j * STEP) & BITS) >> 40) * 2.0**-24 for j in range(count)]


def test_the_reference_gives_the_published_numbers() -> None:
    """The first outputs of SplitMix64 for the seeds 0 and 1234567."""
    assert mix_reference(0) == 16294208416658607535
    found = [mix_reference((1234567 + n * STEP) & BITS) for n in range(3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
@pytest.mark.parametrize("split", ["train", "unseen"])
def test_numbers_are_those_of_plain_ints(seed: int, split: str) -> None:
    indices = [0, 5, 10**12, 2**62]
    numbers = Draws(seed, split, torch.tensor(indices)).uniform("place", 3, 5)
    assert numbers.shape == (4, 3, 5)
    assert numbers.dtype == torch.float32
    for row, index in zip(numbers, indices, strict=True):
        assert row.flatten().tolist() == uniform_reference(seed, split, index, "place", 15)


def test_one_number_is_the_first_of_many() -> None:
    draws = Draws(3, "test", torch.tensor([4, 9]))
    assert torch.equal(draws.uniform("x"), draws.uniform("x", 7)[:, 0])
    assert draws.uniform("x").shape == (2,)


def test_one_clip_alone_equals_that_clip_in_a_batch() -> None:
    together = Draws(1, "train", torch.tensor([8, 3, 2**40]))
    alone = Draws(1, "train", torch.tensor([3]))
    assert torch.equal(together.uniform("tile", 11, 3)[1:2], alone.uniform("tile", 11, 3))
    assert torch.equal(together.integer("shape", 8)[1:2], alone.integer("shape", 8))


def test_seed_split_index_and_name_all_matter() -> None:
    def numbers(seed: int, split: str, index: int, name: str) -> Tensor:
        return Draws(seed, split, torch.tensor([index])).uniform(name, 4)

    base = numbers(0, "train", 0, "x")
    assert torch.equal(base, numbers(0, "train", 0, "x"))
    for other in ((1, "train", 0, "x"), (0, "test", 0, "x"), (0, "train", 1, "x")):
        assert not (numbers(*other) == base).any()
    assert not (numbers(0, "train", 0, "y") == base).any()


def test_numbers_are_even_and_neighbours_have_nothing_to_do_with_each_other(
    assert_even: Callable[[Tensor, int], None],
) -> None:
    numbers = Draws(0, "train", torch.arange(2000)).uniform("x", 50).double()
    assert 0 <= numbers.min() < numbers.max() < 1
    assert_even((numbers * 32).long().flatten(), 32)
    centred = (numbers - 0.5) * 12**0.5  # variance 1
    for one, other in (
        (centred[:-1], centred[1:]),  # of one clip and the next
        (centred[:, :-1], centred[:, 1:]),  # of one place and the next
    ):
        assert (one * other).mean().abs() < 5 / one.numel() ** 0.5


def test_ranges(assert_even: Callable[[Tensor, int], None]) -> None:
    draws = Draws(0, "train", torch.arange(5000))
    numbers = draws.between("length", -2.0, 3.0, 2)
    assert numbers.shape == (5000, 2)
    assert -2 <= numbers.min() < -1.99
    assert 2.99 < numbers.max() < 3
    whole = draws.integer("shape", 7)
    assert whole.dtype == torch.int64
    assert_even(whole, 7)
