"""Models in the hands of accelerate and of the Trainer of transformers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.every_family import FAMILIES, equal, outputs
from support.tiny_models import clips, videomae
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import vidtldr
from vidtldr.hosts.registry import find_host

accelerate = pytest.importorskip("accelerate", reason="accelerate is in the extra `dev`")

R = [5, 3]
NUM_FILMS = 5  # batches of two, and one alone


@pytest.fixture(autouse=True)
def _state_of_its_own() -> Iterator[None]:
    """Accelerate keeps the first settings of a process for all."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


class Films(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return NUM_FILMS

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"pixel_values": clips(NUM_FILMS)[i], "labels": torch.tensor(i % 7)}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        batches = clips(NUM_FILMS).split(2)
        return torch.cat([model(pixel_values=batch).logits for batch in batches])


def trainer_of(model: nn.Module, directory: Path, **settings: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    settings = {"use_cpu": True, "report_to": "none", "per_device_eval_batch_size": 2} | settings
    return Trainer(
        model,
        TrainingArguments(directory, **settings),
        train_dataset=Films(),
        eval_dataset=Films(),
    )


def test_a_trainer_evaluates_and_predicts_with_merging_until_the_patch_is_removed(
    tmp_path: Path,
) -> None:
    model = videomae()
    plain = logits(model)
    trainer = trainer_of(model, tmp_path)
    merged = logits(vidtldr.apply_patch(model, r=R))
    assert not torch.equal(merged, plain)
    for patched, expected in ((True, merged), (False, plain)):
        if not patched:
            vidtldr.remove_patch(trainer.model)
        found = trainer.predict(Films())
        assert np.array_equal(found.predictions, expected.numpy())
        loss = F.cross_entropy(expected, torch.arange(NUM_FILMS)).item()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_trainer_trains_a_model_that_merges(tmp_path: Path) -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    before = logits(model)
    trainer = trainer_of(model, tmp_path, max_steps=2, save_strategy="no", learning_rate=1e-2)
    with vidtldr.trace(model) as trace:
        trainer.train()
    assert trace.num_tokens == [43, 40, 40, 40]
    model.eval()
    assert not torch.equal(logits(model), before)
    assert np.array_equal(trainer.predict(Films()).predictions, logits(model).numpy())


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("patched_first", [False, True])
def test_an_accelerator_prepares_a_model_before_or_after_the_patch(
    precision: str, patched_first: bool
) -> None:
    model = videomae()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        plain = logits(model).float()
        merged = logits(vidtldr.apply_patch(videomae(), r=R)).float()
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    prepared = accelerate.Accelerator(cpu=True, mixed_precision=precision).prepare(model)
    if not patched_first:
        vidtldr.apply_patch(prepared, r=R)
    assert torch.equal(logits(prepared), merged)
    vidtldr.remove_patch(prepared)
    assert torch.equal(logits(prepared), plain)


#: Their attention, whose forward is not called, has weights of its own to load.
NOT_OFFLOADED = {"UMT"}
#: Unmerged, they fail too: their pooling reads weights of modules that it does not call.
FAIL_UNMERGED = {"SigLIP", "SigLIP 2 NaFlex", "InternVideo2, published"}


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - NOT_OFFLOADED - FAIL_UNMERGED))
@pytest.mark.parametrize("patched_first", [False, True])
def test_weights_loaded_before_each_layer_merge_as_they_do_in_place(
    name: str, patched_first: bool
) -> None:
    inputs = FAMILIES[name].inputs()
    plain = outputs(FAMILIES[name].build(), inputs)
    merged = outputs(vidtldr.apply_patch(FAMILIES[name].build(), r=R), inputs)
    model = FAMILIES[name].build()
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    accelerate.cpu_offload(model, execution_device="cpu")
    assert all(p.is_meta for block in find_host(model).blocks for p in block.parameters())
    if not patched_first:
        vidtldr.apply_patch(model, r=R)
    assert equal(run(model, inputs), merged)
    vidtldr.remove_patch(model)
    assert equal(run(model, inputs), plain)


def run(model: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    from support.exporters import flat

    with torch.no_grad():
        return flat(model(**inputs))


@pytest.mark.parametrize("name", sorted(NOT_OFFLOADED))
def test_weights_that_nothing_would_load_are_refused(name: str) -> None:
    model = accelerate.cpu_offload(FAMILIES[name].build(), execution_device="cpu")
    with pytest.raises(
        NotImplementedError, match=r"block 0: .* no hook of accelerate .* got AlignDevicesHook\("
    ):
        vidtldr.apply_patch(model, r=R)


class Doubling(accelerate.hooks.ModelHook):
    def post_forward(self, module: nn.Module, output: Any) -> Any:
        return 2 * output


@pytest.mark.parametrize("patched_first", [False, True])
def test_a_hook_of_accelerate_that_would_be_walked_around_is_refused(patched_first: bool) -> None:
    model = videomae()
    refused: Callable[[], object] = lambda: vidtldr.apply_patch(model, r=R)  # noqa: E731
    if patched_first:
        vidtldr.apply_patch(model, r=R)
        refused = lambda: logits(model)  # noqa: E731
    attention = find_host(model).blocks[1].attention.attention
    align = accelerate.hooks.AlignDevicesHook(torch.device("cpu"))
    for hook in (Doubling(), accelerate.hooks.SequentialHook(align, Doubling())):
        accelerate.hooks.add_hook_to_module(attention, hook)
        with pytest.raises(NotImplementedError, match=r"block 1: .* got <.*Doubling object"):
            refused()
        accelerate.hooks.remove_hook_from_module(attention)
    accelerate.hooks.add_hook_to_module(attention, align)
    refused()


def test_a_hook_of_accelerate_on_a_linear_layer_counts() -> None:
    model, other = (vidtldr.apply_patch(videomae(), r=R) for _ in range(2))
    key = find_host(model).blocks[1].attention.attention.key
    accelerate.hooks.add_hook_to_module(key, Doubling())
    with torch.no_grad():
        for parameter in find_host(other).blocks[1].attention.attention.key.parameters():
            parameter.mul_(2)
    assert torch.equal(logits(model), logits(other))
