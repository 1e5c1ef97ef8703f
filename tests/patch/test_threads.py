"""One model in several threads: forwards beside each other, and changes right or refused."""

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from support.tiny_models import clips, spread_out_weights, videomae, vivit
from support.tiny_umt import TINY
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.patch.merging_forward import merging_forward_of

R = [9, 0, 5]


def umt() -> nn.Module:
    return spread_out_weights(VisionEncoder(replace(TINY, num_layers=4)))


def run(model: nn.Module) -> Tensor:
    with torch.no_grad():
        if isinstance(model, VisionEncoder):
            return model(clips()[:, :3, :, :12, :12]).pooled
        return model(pixel_values=clips()).logits


FAMILIES = [videomae, vivit, umt]


class Paused:
    """A forward in another thread that stands still in front of one block."""

    def __init__(self, model: nn.Module, layer: int) -> None:
        self.reached, self.goes_on = threading.Event(), threading.Event()
        self.pool = ThreadPoolExecutor(1)
        block = find_host(model).blocks[layer]
        self.handle = block.register_forward_pre_hook(self.wait)
        self.result = self.pool.submit(run, model)
        assert self.reached.wait(30)
        self.handle.remove()

    def wait(self, *_: object) -> None:
        self.reached.set()
        assert self.goes_on.wait(30)

    def finish(self) -> Tensor:
        self.goes_on.set()
        return self.result.result(30)


@contextmanager
def paused(model: nn.Module, layer: int) -> Iterator[Paused]:
    forward = Paused(model, layer)
    try:
        yield forward
    finally:
        forward.goes_on.set()
        forward.pool.shutdown()


def is_patched(model: nn.Module) -> bool:
    return any(merging_forward_of(module) is not None for module in model.modules())


@pytest.mark.parametrize(
    ("build", "pooling"), [*((build, "tokens") for build in FAMILIES), (umt, "mass")]
)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_forward_that_merges_ends_as_it_began_when_the_patch_is_removed(
    build: Callable[[], nn.Module], pooling: str, layer: int
) -> None:
    model = build()
    unmerged = run(model)
    merged = run(vidtldr.apply_patch(model, r=R, pooling=pooling))
    with paused(model, layer) as other:
        vidtldr.remove_patch(model)
        assert vidtldr.describe(model).config is None
        assert torch.equal(run(model), unmerged)  # while the other is under way
        assert torch.equal(other.finish(), merged)
    assert torch.equal(run(model), unmerged)
    vidtldr.remove_patch(model)
    assert not is_patched(model)


def test_a_copy_of_a_model_whose_patch_was_removed_meanwhile_does_not_merge() -> None:
    model = videomae()
    unmerged = run(model)
    vidtldr.apply_patch(model, r=R)
    with paused(model, 2) as other:
        vidtldr.remove_patch(model)
        copied = pickle.loads(pickle.dumps(model))
        other.finish()
    assert torch.equal(run(copied), unmerged)


@pytest.mark.parametrize("build", FAMILIES)
def test_a_patch_is_not_put_beside_a_forward_that_merges(build: Callable[[], nn.Module]) -> None:
    model = vidtldr.apply_patch(build(), r=R)
    merged = run(model)
    with paused(model, 2) as other:
        with pytest.raises(RuntimeError, match="model must not run in another thread while it is"):
            vidtldr.apply_patch(model, r=[3])
        assert torch.equal(run(model), merged)  # as it was
        assert torch.equal(other.finish(), merged)
    vidtldr.apply_patch(model, r=[3])


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("layer", range(4))
def test_a_forward_that_began_before_the_patch_is_right_or_an_error(
    build: Callable[[], nn.Module], layer: int
) -> None:
    model = build()
    unmerged = run(model)
    with paused(model, layer) as other:  # which looked up this block's own forward before
        merged = run(vidtldr.apply_patch(model, r=[0, *R[:1]]))
        if layer in (0, 3):
            assert torch.equal(other.finish(), merged if layer == 0 else unmerged)
        else:
            with pytest.raises(RuntimeError, match="or another thread patched the model meanwhile"):
                other.finish()


def test_a_forward_that_failed_is_under_way_no_longer() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    handle = find_host(model).blocks[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(run, model).exception(), ZeroDivisionError)
        handle.remove()
        vidtldr.apply_patch(model, r=[3])
        vidtldr.remove_patch(model)
    assert not is_patched(model)


@pytest.mark.parametrize("r", [R, [0]])
def test_inside_patched_no_other_thread_changes_the_patch(r: list[int]) -> None:
    model = videomae()
    changes: list[Callable[[], object]] = [
        lambda: vidtldr.apply_patch(model, r=[3]),
        lambda: vidtldr.remove_patch(model),
        lambda: vidtldr.patched(model, r=[3]).__enter__(),
    ]
    with ThreadPoolExecutor(1) as pool:
        with vidtldr.patched(model, r=r):
            expected = run(model)
            with vidtldr.patched(model, r=[2]):
                pass  # the same thread may
            for change in changes:
                error = pool.submit(change).exception()
                assert isinstance(error, RuntimeError)
                assert "model must be patched by one thread at a time" in str(error)
            assert torch.equal(pool.submit(run, model).result(), expected)
        pool.submit(lambda: vidtldr.apply_patch(model, r=[3])).result()


def test_threads_that_each_patch_for_themselves_get_their_answers_or_an_error() -> None:
    model = videomae(num_hidden_layers=12)
    unmerged = run(model)
    with vidtldr.patched(model, r=R):
        merged = run(model)
    found: Counter[str] = Counter()

    def serve(_: int) -> None:
        try:
            with vidtldr.patched(model, r=R):
                y = run(model)
        except RuntimeError as error:
            found[str(error)[:48]] += 1
        else:
            found["merged" if torch.allclose(y, merged, atol=1e-4) else "wrong"] += 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(serve, range(120)))
    assert set(found) <= {"merged", "model must be patched by one thread at a time, g"}
    assert found["merged"] > 0
    assert torch.equal(run(model), unmerged)
    assert not is_patched(model)


@pytest.mark.slow
def test_a_patch_that_is_put_and_removed_again_and_again_gives_no_wrong_answer() -> None:
    model = videomae(num_hidden_layers=12)
    unmerged = run(model)
    with vidtldr.patched(model, r=R):
        merged = run(model)
    is_over, refused = threading.Event(), Counter[str]()

    def serve(_: int) -> Counter[str]:
        found: Counter[str] = Counter()
        while not is_over.is_set():
            try:
                y = run(model)
            except RuntimeError as error:
                found["refused" if "patched the model meanwhile" in str(error) else str(error)] += 1
                continue
            is_right = any(torch.allclose(y, right, atol=1e-4) for right in (merged, unmerged))
            found["right" if is_right else "wrong"] += 1
        return found

    with ThreadPoolExecutor(2) as pool:
        served = [pool.submit(serve, i) for i in range(2)]
        for _ in range(150):
            try:
                vidtldr.apply_patch(model, r=R)
            except RuntimeError as error:
                refused[str(error)[:36]] += 1
            vidtldr.remove_patch(model)
        is_over.set()
    found = sum((each.result() for each in served), Counter[str]())
    assert set(found) <= {"right", "refused"}
    assert set(refused) <= {"model must not run in another thread"}
    assert found["right"] > 0
