"""Names and shapes of the published files, by formula from the description of the model.

Independent of our modules: BERT's names are those of its own checkpoints, the rest is written from
OpenGVLab/unmasked_teacher (multi_modality/models) and shared/paper.md, section 4.
"""

from typing import NamedTuple

import torch


class Sizes(NamedTuple):
    width: int
    vision_layers: int
    text_layers: int
    fusion_layer: int
    embed: int
    teacher: int  # channels of the CLIP teacher's output


PUBLISHED = {
    "b16": Sizes(768, 12, 12, 9, 512, 512),
    "l16": Sizes(1024, 24, 24, 19, 768, 768),
}
VOCABULARY = 30522


def weight_and_bias(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def vision_shapes(sizes, pool_norm):
    width, prefix = sizes.width, "vision_encoder.encoder"
    shapes = weight_and_bias(f"{prefix}.patch_embed.proj", width, 3, 1, 16, 16)
    for i in range(sizes.vision_layers):
        block = f"{prefix}.blocks.{i}"
        shapes[f"{block}.attn.q_bias"] = shapes[f"{block}.attn.v_bias"] = (width,)
        shapes[f"{block}.attn.qkv.weight"] = (3 * width, width)
        shapes |= weight_and_bias(f"{block}.attn.proj", width, width)
        shapes |= weight_and_bias(f"{block}.norm1", width)
        shapes |= weight_and_bias(f"{block}.norm2", width)
        shapes |= weight_and_bias(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= weight_and_bias(f"{block}.mlp.fc2", width, 4 * width)
    shapes |= weight_and_bias(f"{prefix}.norm", width)
    return shapes | (weight_and_bias("vision_encoder.pool_norm", width) if pool_norm else {})


def attention_shapes(name, width):
    shapes = {}
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= weight_and_bias(f"{name}.{part}", width, width)
    return shapes | weight_and_bias(f"{name}.output.LayerNorm", width)


def bert_shapes(prefix, width, num_layers, fusion_layer):
    embeddings = f"{prefix}.embeddings"
    shapes = {
        f"{embeddings}.position_ids": (1, 512),
        f"{embeddings}.word_embeddings.weight": (VOCABULARY, width),
        f"{embeddings}.position_embeddings.weight": (512, width),
        f"{embeddings}.token_type_embeddings.weight": (2, width),
    }
    shapes |= weight_and_bias(f"{embeddings}.LayerNorm", width)
    for i in range(num_layers):
        layer = f"{prefix}.encoder.layer.{i}"
        shapes |= attention_shapes(f"{layer}.attention", width)
        if i >= fusion_layer:
            shapes |= attention_shapes(f"{layer}.crossattention", width)
        shapes |= weight_and_bias(f"{layer}.intermediate.dense", 4 * width, width)
        shapes |= weight_and_bias(f"{layer}.output.dense", width, 4 * width)
        shapes |= weight_and_bias(f"{layer}.output.LayerNorm", width)
    return shapes


def word_head_shapes(prefix, width):
    head = f"{prefix}.cls.predictions"
    shapes = {f"{head}.bias": (VOCABULARY,)}
    shapes |= weight_and_bias(f"{head}.transform.dense", width, width)
    shapes |= weight_and_bias(f"{head}.transform.LayerNorm", width)
    return shapes | weight_and_bias(f"{head}.decoder", VOCABULARY, width)


def projection_shapes(sizes):
    shapes = {"temp": ()}
    for name, rows in (("vision_proj", sizes.embed), ("text_proj", sizes.embed), ("itm_head", 2)):
        shapes |= weight_and_bias(name, rows, sizes.width)
    return shapes


def teacher_shapes(sizes):
    """A few of the frozen CLIP teacher's, and the projections onto its six layers."""
    shapes = {
        "clip_teacher.class_embedding": (sizes.width,),
        "clip_teacher.conv1.weight": (sizes.width, 3, 1, 16, 16),
        "clip_teacher.transformer.resblocks.0.attn.in_proj_weight": (3 * sizes.width, sizes.width),
    }
    for i in range(6):
        decoder = f"vision_encoder.clip_decoder.{i}"
        shapes |= weight_and_bias(f"{decoder}.head", sizes.teacher, sizes.width)
        shapes |= weight_and_bias(f"{decoder}.norm", sizes.teacher)
    return shapes


def pretrained_shapes(sizes):
    text = bert_shapes("text_encoder.bert", sizes.width, sizes.text_layers, sizes.fusion_layer)
    text |= word_head_shapes("text_encoder", sizes.width)
    vision = vision_shapes(sizes, pool_norm=True) | teacher_shapes(sizes)
    return vision | text | projection_shapes(sizes)


def retrieval_shapes(sizes):
    text = bert_shapes("text_encoder", sizes.width, sizes.text_layers, sizes.fusion_layer)
    return vision_shapes(sizes, pool_norm=True) | text | projection_shapes(sizes)


def answering_shapes(sizes):
    text = bert_shapes("text_encoder", sizes.width, sizes.text_layers, sizes.fusion_layer)
    depth = sizes.text_layers - sizes.fusion_layer
    decoder = bert_shapes("text_decoder.bert", sizes.width, depth, 0)
    decoder |= word_head_shapes("text_decoder", sizes.width)
    return vision_shapes(sizes, pool_norm=False) | text | decoder


def constant_tensors(shapes):
    """One random number a name, of full shape: `torch.save` stores the number once."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("position_ids"):
            state[name] = torch.arange(shape[1]).expand(shape)
        else:
            state[name] = torch.randn((), generator=generator).expand(shape)
    return state
