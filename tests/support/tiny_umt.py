"""A UMT small enough for slow references, with weights that make every part matter."""

import torch

from vidtldr.models.umt import UMTConfig

TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 11,
    "vocab_size": 29,
    "max_position_embeddings": 9,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "fusion_layer": 1,
    "encoder_width": 12,
    "cross_module": "ca",
}

# 3 frames of 12 pixels in patches of 4: 27 tokens. Text is narrower than vision here, ...
TINY = UMTConfig(12, 4, 3, 12, 2, 3, 5, TEXT)
# ... and as wide here, as in the published models; 4 frames, as in pretraining.
EVEN = UMTConfig(12, 4, 4, 12, 2, 3, 5, {**TEXT, "hidden_size": 12})


def spread_weights(model, seed, scale=1.0):
    """Fill a model with weights wide enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name.lower() and name.endswith("weight")
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
            parameter.copy_(1 + 0.3 * noise if is_norm else scale * noise * fan_in**-0.5)
    return model.eval()


def token_ids(seed, shape, vocab_size=29):
    """Texts of different lengths: start with 2, end in 3, padded by 0."""
    num_texts, length = shape
    ids = torch.randint(4, vocab_size, shape, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(shape, dtype=torch.int64)
    for i in range(num_texts):
        real = 3 + i % (length - 2)
        ids[i, real - 1] = 3
        ids[i, real:], mask[i, real:] = 0, 0
    ids[:, 0] = 2
    return ids, mask


def weights_of(model, dtype):
    """The weights by official name, for the slow reference."""
    return {name: value.to(dtype) for name, value in model.state_dict().items()}
