import pytest
import torch
from support import umt_reference as reference
from support.tiny_umt import TINY
from torch.testing import assert_close

from vidtldr.models.umt import build_vision_encoder
from vidtldr.models.umt.positions import interpolate_positions, sine_cosine_positions


def test_the_first_rows_by_hand():
    table = sine_cosine_positions(2, 4)
    hand = [[0.0, 1.0, 0.0, 1.0], [0.8414710, 0.5403023, 0.0099998, 0.99995]]
    assert_close(table, torch.tensor(hand), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("num_positions", "num_channels"), [(27, 12), (144, 96), (7, 5)])
def test_the_table_equals_the_formula(num_positions, num_channels):
    exact = reference.positions(num_positions, num_channels)
    table = sine_cosine_positions(num_positions, num_channels)
    assert table.dtype == torch.float32
    assert torch.equal(table, exact.float())


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8])
def test_another_number_of_frames_is_interpolated_linearly_in_time(num_frames):
    exact = reference.positions(27, 12)
    fitted = interpolate_positions(sine_cosine_positions(27, 12), 9, num_frames)
    exact = reference.interpolated_positions(exact, 9, num_frames)
    assert_close(fitted.double(), exact, rtol=0, atol=4 * torch.finfo(torch.float32).eps)


def test_doubling_three_frames_by_hand():
    table = torch.tensor([[0.0], [4.0], [8.0]])
    fitted = interpolate_positions(table, 1, 6)
    assert fitted[:, 0].tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 8.0]


def test_one_frame_takes_the_first_rows_of_the_table():
    table = sine_cosine_positions(27, 12)
    assert torch.equal(interpolate_positions(table, 9, 1), table[:9])


def test_the_table_is_no_parameter_and_in_no_checkpoint():
    model = build_vision_encoder(TINY)
    assert not any("positions" in name for name in model.state_dict())
    assert torch.equal(model.encoder.positions, sine_cosine_positions(27, 12))
