import pytest
import torch
from tiny_models import clips, videomae
from torch import Tensor

from vidtldr.hosts.compiled_twin import CompiledTwin

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

    with pytest.raises(ValueError, match=r"compile must have room .* got \(1, 6, 3, 32, 32\) and"):
        compiled.warm_up(run)


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_said_before_any_video() -> None:
    compiled = CompiledTwin(videomae(num_hidden_layers=1), SHAPE)

    @torch.inference_mode()
    def run(pixel_values: Tensor) -> None:
        compiled.model_for(pixel_values)(pixel_values=pixel_values)

    with (
        torch._inductor.config.patch({"cpp.cxx": ("false",), "fx_graph_cache": False}),
        pytest.raises(ImportError, match="compile must find compilers that work, got an error fr"),
    ):
        compiled.warm_up(run)
