"""V-JEPA 2 of transformers: no class token, rotary positions in time, height and width.

It passes on the grid: the predictor and the attentive pooler read a token of every place. With
pooling by mass the pooler attends to merged tokens instead, and the predictor is out of use.
"""

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from vidtldr.hosts.host import (
    Attend,
    Attended,
    BlockSizes,
    Host,
    is_a,
    join_heads,
    split_heads,
)
from vidtldr.hosts.pooling_step import PoolingStep

__all__ = ["VJEPA2Host"]

_MODELING = "transformers.models.vjepa2.modeling_vjepa2"


class VJEPA2Host(Host):
    """`VJEPA2Encoder`, as `VJEPA2Model` and `VJEPA2ForVideoClassification` hold one.

    The predictor, built of the same layers, is left alone.
    """

    family = "V-JEPA 2 (transformers)"
    is_rotary = True
    returns_tuple = True
    grid_only_classes = (f"{_MODELING}.VJEPA2Model",)
    mass_classes = grid_only_classes

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VJEPA2Encoder`."""
        return is_a(module, f"{_MODELING}.VJEPA2Encoder")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `VJEPA2Encoder`."""
        num_patches = root.embeddings.patch_embeddings.num_patches(root.config)
        return cls(root, root.layer, 0, num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`VJEPA2Layer.forward` up to the first residual."""
        attention = block.attention
        y = block.norm1(x)
        q, k, v = (
            split_heads(project(y), attention.num_attention_heads)
            for project in (attention.query, attention.key, attention.value)
        )
        attended = attend(q, k, v, scale=attention.scaling)
        y = attention.proj(join_heads(attended.x))
        return Attended(block.drop_path(y) + x, attended.score, k)

    @staticmethod
    def rotate(
        block: Any, q: Tensor, k: Tensor, places: Tensor, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Turn by the frame, row and column of each place, as for a predictor's position masks."""
        attention = block.attention
        ids = attention.get_position_ids(q, masks=places)
        return (
            attention.apply_rotary_embeddings(q, ids),
            attention.apply_rotary_embeddings(k, ids),
        )

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`VJEPA2Layer.forward` from the first residual on."""
        y: Tensor = block.drop_path(block.mlp(block.norm2(x))) + x
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{_MODELING}.VJEPA2Layer": block,
            f"{_MODELING}.VJEPA2RopeAttention": block.attention,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.attention
        heads, channels = attention.num_attention_heads, attention.attention_head_size
        return BlockSizes(heads, channels, (block.mlp,))

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The last norm and the layers of the attentive pooler, in models that have one."""
        root: Any = self.root
        poolers = self._found("VJEPA2AttentivePooler")
        if len(poolers) != 1:
            return ()
        (pooler,) = poolers
        of_keys = PoolingStep(pooler, bias="attention_mask", config=root.config)
        layers = [of_keys._replace(module=layer) for layer in pooler.self_attention_layers]
        last = of_keys._replace(module=pooler.cross_attention_layer, argument=1, returns="vector")
        return (PoolingStep(root.layernorm), *layers, last)

    def grid_modules(self) -> tuple[nn.Module, ...]:
        """The predictor, which takes token k for place k."""
        return tuple(self._found("VJEPA2Predictor"))

    def _found(self, name: str) -> list[Any]:
        return [m for m in self.model.modules() if is_a(m, f"{_MODELING}.{name}")]

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_probs_dropout_prob` of the config."""
        return float(block.attention.dropout_prob)
