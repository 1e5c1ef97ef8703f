"""Ward's linkage, protection by saliency and spared outliers in whole models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.encoder_oracle import DEFAULT, PROTECTED
from support.every_family import FAMILIES, outputs
from support.tiny_models import clips, videomae, vivit
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host

R = [20, 10, 6]


def with_outlier(model: nn.Module, place: int) -> nn.Module:
    """Make one token of each clip far longer than all others before the first block."""

    def stretch(_block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0].clone()
        x[:, place] *= 100
        return (x, *args[1:])

    find_host(model).blocks[0].register_forward_pre_hook(stretch)
    return model


def sharing(model: nn.Module, place: int, **fields: Any) -> list[int]:
    """How many original tokens are in the final token that holds the one of a place, by clip."""
    vidtldr.apply_patch(model, r=R, **fields)
    with torch.no_grad(), vidtldr.trace(model) as trace:
        model(pixel_values=clips(3))
    return (trace.source == trace.source[:, place, None]).sum(dim=1).tolist()


@pytest.mark.parametrize("place", [8, 9])  # a source and a destination, or the reverse
@pytest.mark.parametrize("build", [videomae, vivit])
@pytest.mark.parametrize("fields", [{}, {"score": "sharpness", "protect": 0.3}, {"metric": "keys"}])
def test_a_spared_outlier_is_still_itself_at_the_end(
    build: Callable[..., nn.Module], place: int, fields: dict[str, Any]
) -> None:
    model = with_outlier(build(), place)
    assert sharing(model, place, spare_norms=4, **fields) == [1, 1, 1]


def test_without_sparing_it_merges_and_with_nothing_else_left_it_does_too() -> None:
    model = with_outlier(videomae(), 8)
    assert max(sharing(model, 8)) > 1
    vidtldr.apply_patch(model, r=[24], spare_norms=4)  # every source
    with torch.no_grad(), vidtldr.trace(model) as trace:
        model(pixel_values=clips(3))
    assert (trace.source == trace.source[:, 8, None]).sum(dim=1).gt(1).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_protects_and_spares_and_so_chooses_other_pairs(name: str) -> None:
    model, inputs = FAMILIES[name].build(), FAMILIES[name].inputs()
    sources = []
    for fields in (DEFAULT, PROTECTED):
        vidtldr.apply_patch(model, r=[3, 2], **fields)
        with vidtldr.trace(model) as trace:
            assert all(x.isfinite().all() for x in outputs(model, inputs))
        assert trace.num_tokens[0] - trace.num_tokens[1] == 2 * find_host(model).tube_length
        sources.append(trace.source)
    assert not torch.equal(*sources)


@pytest.mark.parametrize("fields", [DEFAULT, PROTECTED], ids=["default", "protected"])
@pytest.mark.parametrize("build", [videomae, pytest.param(vivit, marks=pytest.mark.slow)])
def test_ward_protection_and_sparing_compile_to_one_graph(
    build: Callable[..., nn.Module], fields: dict[str, Any]
) -> None:
    model = vidtldr.apply_patch(build(num_hidden_layers=3), r=[9, 5], **fields)
    with torch.no_grad():
        expected = model(pixel_values=clips()).logits
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(pixel_values=clips()).logits, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("fields", [DEFAULT, PROTECTED], ids=["default", "protected"])
def test_they_compile_to_kernels_with_the_same_outputs(fields: dict[str, Any]) -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), r=[9, 5], **fields)
    with torch.no_grad():
        expected = model(pixel_values=clips()).logits
        found = torch.compile(model, fullgraph=True)(pixel_values=clips()).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_gradients_are_finite_with_all_of_them() -> None:
    model = vidtldr.apply_patch(videomae(), r=R, **PROTECTED).double()
    model(pixel_values=clips().double()).logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
