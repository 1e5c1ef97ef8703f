"""Masks are refused where tokens merge, whoever made them."""

import pytest
import torch
from support.tiny_models import clips, logits, vivit

import vidtldr


def test_an_attention_mask_is_refused_where_tokens_merge() -> None:
    model = vidtldr.apply_patch(vivit(), r=[0, 9, 5])
    mask = torch.ones(2, 49)
    mask[:, -3:] = 0
    with pytest.raises(NotImplementedError, match="attention_mask must be None where tokens merge"):
        model(pixel_values=clips(), attention_mask=mask)


def test_a_mask_that_nobody_gave_is_refused_with_what_made_it() -> None:
    model = vidtldr.apply_patch(vivit(num_hidden_layers=2), r=[9])
    model.set_attn_implementation("flex_attention")
    with pytest.raises(
        NotImplementedError, match=r"If you gave none, transformers made it: .* flex_attention"
    ):
        logits(model)
    model.set_attn_implementation("sdpa")
    assert logits(model).isfinite().all()
