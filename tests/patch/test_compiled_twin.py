from collections.abc import Callable, Mapping

import pytest
import torch
from support.tiny_models import clips, videomae
from torch import Tensor

from vidtldr.measure.timing import Timing
from vidtldr.patch import compiled_twin as module
from vidtldr.patch.compiled_twin import CompiledTwin

SHAPE = (1, 6, 3, 32, 32)
pytestmark = pytest.mark.usefixtures("compiler")


def test_clips_of_another_shape_run_on_the_model_itself() -> None:
    model = videomae()
    compiled = CompiledTwin(model, SHAPE)
    assert compiled.model_for(clips(2)) is model
    assert compiled.model_for(clips(1)) is not model
    assert compiled.compile_seconds == 0


def test_the_copy_shares_the_weights() -> None:
    model = videomae()
    copied = CompiledTwin(model, SHAPE).model_for(clips(1))
    for ours, theirs in zip(copied.parameters(), model.parameters(), strict=True):
        assert ours is theirs


def test_a_batch_without_room_on_the_gpu_is_said_with_its_size() -> None:
    compiled = CompiledTwin(videomae(), SHAPE)

    def run(pixel_values: Tensor) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(
        ValueError, match=r"`compile` must have room .* got \(1, 6, 3, 32, 32\) and"
    ):
        compiled.warm_up(run)


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_said_before_any_video() -> None:
    compiled = CompiledTwin(videomae(num_hidden_layers=1), SHAPE)

    @torch.inference_mode()
    def run(pixel_values: Tensor) -> None:
        compiled.model_for(pixel_values)(pixel_values=pixel_values)

    with (
        torch._inductor.config.patch({"cpp.cxx": ("false",), "fx_graph_cache": False}),
        pytest.raises(
            ImportError, match="`compile` must find compilers that work, got an error fr"
        ),
    ):
        compiled.warm_up(run)


@pytest.mark.parametrize(("compiled_ms", "pays"), [(2.0, True), (4.0, False), (3.0, False)])
def test_clips_run_compiled_only_where_that_is_faster(
    compiled_ms: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = videomae()
    compiled = CompiledTwin(model, SHAPE)
    ran: list[bool] = []

    def timed(runs: Mapping[str, Callable[[], object]], **_: object) -> dict[str, Timing]:
        for run in runs.values():
            run()
        return {"compiled": Timing((compiled_ms, 9.0)), "uncompiled": Timing((3.0, 9.0))}

    monkeypatch.setattr(module, "time_in_turn", timed)
    compiled.warm_up(lambda x: ran.append(compiled.model_for(x) is not model))
    assert ran == [True, True, False]  # compiled, and then both in turn
    assert compiled.times is not None
    assert compiled.times.pays is pays
    assert (compiled.model_for(clips(1)) is not model) is pays
