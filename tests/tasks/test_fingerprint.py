import hashlib

import pytest
import torch
from torch import nn

from vidtldr.tasks.fingerprint import file_sha256, module_sha256


def test_a_file_is_known_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_converted_directory_is_known_by_its_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert file_sha256(tmp_path) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_module_is_known_by_every_bit(dtype):
    module = nn.Linear(3, 2).to(dtype)
    before = module_sha256(module)
    assert module_sha256(module) == before
    with torch.no_grad():
        module.weight[1, 2] = torch.nextafter(module.weight[1, 2], torch.tensor(9.0, dtype=dtype))
    assert module_sha256(module) != before


def test_the_type_and_the_shape_count():
    module = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(module.weight)
    other = nn.Linear(2, 8, bias=False)
    nn.init.zeros_(other.weight)
    hashes = {module_sha256(module), module_sha256(other), module_sha256(module.half())}
    assert len(hashes) == 3
