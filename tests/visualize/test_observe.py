import torch
from support.scenes import R, forward
from support.tiny_models import clips, videomae

from vidtldr.config import MergeConfig
from vidtldr.method.source import unmerge_tokens
from vidtldr.patch.patching import patched, trace
from vidtldr.visualize.observe import observe


def test_an_unmerged_model_is_seen_as_it_is() -> None:
    model, pixel_values = videomae(), clips(1)
    seen = observe(model, pixel_values, forward)
    with torch.no_grad():
        out = model(pixel_values, output_hidden_states=True)
    assert torch.equal(seen.output.logits, out.logits)
    assert torch.allclose(seen.features, out.hidden_states[-1][0], atol=1e-5)
    assert seen.layers == ()
    assert seen.num_tokens == [48] * 4


def test_merged_features_are_given_back_to_every_patch() -> None:
    model, pixel_values = videomae(), clips(1)
    last = []
    model.videomae.encoder.layer[-1].register_forward_hook(lambda *args: last.append(args[2]))
    with patched(model, MergeConfig(r=R)), trace(model) as recorded:
        seen = observe(model, pixel_values, forward)
    expected = unmerge_tokens(last[0], recorded.source)[0]
    assert torch.equal(seen.features, expected)
    assert seen.features.shape == (48, 48)
    for layer in seen.layers[-1:]:
        together = torch.from_numpy(layer.group).flatten()
        rows = [set(map(tuple, seen.features[together == g].tolist())) for g in range(24)]
        assert all(len(row) == 1 for row in rows)


def test_watching_leaves_no_hook_behind() -> None:
    model = videomae()
    observe(model, clips(1), forward)
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
