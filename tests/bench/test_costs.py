from itertools import pairwise

import pytest
import torch
from support.tiny_models import clips, videomae, vivit
from torch import nn

import vidtldr
from vidtldr.config import MergeConfig
from vidtldr.measure.flops import count_flops
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.ops.attention.triton_op import triton_attention, triton_score
from vidtldr.patch.twin import merged_twin
from vidtldr.tasks.comparison import compare_on_clip

CPU = torch.device("cpu")


def test_flops_of_a_product_and_of_fused_attention_worked_by_hand() -> None:
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    q = torch.zeros(2, 3, 11, 4)
    sdpa = nn.functional.scaled_dot_product_attention
    assert count_flops(lambda: sdpa(q, q, q)) == 2 * (2 * 2 * 3 * 11 * 11 * 4)


def test_fused_and_eager_attention_count_the_same() -> None:
    model = videomae()
    counts = []
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        counts.append(count_flops(lambda: model(pixel_values=clips())))
    assert counts[0] == counts[1] > 0


def test_the_kernels_for_gpus_count_as_the_attention_they_compute() -> None:
    """Their second pass makes the products of queries and keys again: the same work, not more."""
    q = torch.zeros(2, 3, 11, 4, device="meta")
    count = 2 * 2 * 3 * 11 * 11 * 4
    assert count_flops(lambda: triton_attention(q, q, q, 0.5, None, "sharpness")) == 2 * count
    assert count_flops(lambda: triton_score(q, q, 0.5, "sharpness")) == count


def test_flops_of_videomae_base_are_the_known_number() -> None:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    with torch.device("meta"):
        model = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400)).eval()
        # 360.7 GFLOP are 180.3 GMACs, the number of the VideoMAE paper.
        x = torch.empty(1, 16, 3, 224, 224)
        assert count_flops(lambda: model(pixel_values=x)) / 1e9 == pytest.approx(360.7, rel=1e-3)


def test_a_merged_model_counts_less() -> None:
    model = vivit()
    before = count_flops(lambda: model(pixel_values=clips()))
    vidtldr.apply_patch(model, r=[20, 10])
    assert count_flops(lambda: model(pixel_values=clips())) < 0.7 * before


def test_the_peak_of_memory_worked_by_hand() -> None:
    def run() -> torch.Tensor:
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # 8000 live
        del a  # 4000
        c = b * 2  # 8000
        c.add_(b)  # in place
        view = c[10:]
        return torch.cat([b, c, view])  # 4000 + 4000 + 11960 live

    assert peak_tensor_bytes(run, CPU) == 8000 + 4 * 2990


def test_inputs_and_weights_do_not_count() -> None:
    weight, x = torch.zeros(100, 100), torch.zeros(10, 100)
    assert peak_tensor_bytes(lambda: x @ weight.t(), CPU) == 10 * 100 * 4


def test_the_peak_is_the_same_every_time() -> None:
    model = videomae()
    peaks = [peak_tensor_bytes(lambda: model(pixel_values=clips()), CPU) for _ in range(2)]
    assert peaks[0] == peaks[1]


def test_the_twin_shares_every_weight_and_leaves_the_original_alone() -> None:
    model = videomae()
    twin = merged_twin(model, MergeConfig(r=[9, 5]))
    tensors = zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in tensors)
    with torch.no_grad():
        plain = model(pixel_values=clips()).logits
        merged = twin(pixel_values=clips()).logits
        assert torch.equal(
            merged, vidtldr.apply_patch(model, r=[9, 5])(pixel_values=clips()).logits
        )
        assert torch.equal(vidtldr.remove_patch(model)(pixel_values=clips()).logits, plain)


def test_a_comparison_holds_both_sides() -> None:
    model = videomae()
    twin = merged_twin(model, MergeConfig(r=[9, 5]))
    comparison = compare_on_clip(model, twin, clips(1), num_repeats=2)
    assert comparison.unmerged.num_tokens == [48] * 4
    assert comparison.merged.num_tokens == [39, 34, 34, 34]
    assert comparison.merged.flops < comparison.unmerged.flops
    assert comparison.unmerged.probabilities.sum() == pytest.approx(1)
    assert comparison.gain.median > 0
    assert 0 <= comparison.largest_change <= 1


def test_a_model_compared_with_itself_agrees_exactly() -> None:
    model = videomae()
    comparison = compare_on_clip(
        model, merged_twin(model, MergeConfig(r=[0])), clips(1), num_repeats=1
    )
    assert comparison.agrees
    assert comparison.largest_change == 0
    assert comparison.unmerged.flops == comparison.merged.flops


def test_a_longer_schedule_never_costs_more() -> None:
    model = vivit()
    schedules = [[0], [10], [20], [20, 10], [20, 10, 5]]
    costs = []
    for r in schedules:
        vidtldr.apply_patch(model, r=r, score=None)
        costs.append(count_flops(lambda: model(pixel_values=clips(1))))
    assert all(later < earlier * 1.02 for earlier, later in pairwise(costs))
