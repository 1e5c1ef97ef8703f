"""The contract between the method and one family of models.

Letters: `B` clips, `N` tokens now, `C` channels, `H` heads, `D` channels a head.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol, Self

from torch import Tensor, nn

from vidtldr.ops.attention import AttentionOutput

__all__ = [
    "Attend",
    "Attended",
    "BlockSizes",
    "Host",
    "full_name",
    "is_a",
    "join_heads",
    "split_heads",
]


class Attend(Protocol):
    """Attention with the mass, score and implementation of the layer that is walked."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
        """Attend with queries, keys and values of shape (B, H, N, D)."""


class Attended(NamedTuple):
    """A block half way: after attention and its residual, before the MLP.

    Attributes:
        x: Tokens, shape (B, N, C).
        score: Score of each token, shape (B, N), or None.
        keys: Keys of the attention, shape (B, H, N, D).
    """

    x: Tensor
    score: Tensor | None
    keys: Tensor


class BlockSizes(NamedTuple):
    """What the cost of a block depends on, its linear layers left out.

    Attributes:
        num_heads: H.
        head_channels: D.
        mlp: The modules of its second half; every linear layer of the block that is not in them
            belongs to attention.
    """

    num_heads: int
    head_channels: int
    mlp: tuple[nn.Module, ...]


class Host(ABC):
    """Knows how the blocks of one family are found and walked.

    One object belongs to one loaded model and holds no state of a forward.

    Attributes:
        family: The family's name, as errors and the README list it.
        grid_methods: Methods of the root that lay tokens out on their grid, which a merged sequence
            does not have; they raise while the model merges.
        pooling_method: Method of the root that pools the last block's tokens by their mean, and by
            their mass if that is its second argument; None where the family has none.
        root: The module of the family that owns the blocks.
        blocks: Its transformer blocks, first layer first.
        num_prefix_tokens: Class and register tokens at the front of the sequence.
        num_tokens: Tokens that enter the first block, prefix included; None where the input
            decides.
    """

    family: ClassVar[str]
    grid_methods: ClassVar[tuple[str, ...]] = ()
    pooling_method: ClassVar[str | None] = None

    def __init__(
        self,
        root: nn.Module,
        blocks: Sequence[nn.Module],
        num_prefix_tokens: int,
        num_tokens: int | None,
    ) -> None:
        self.root = root
        self.blocks = list(blocks)
        self.num_prefix_tokens = num_prefix_tokens
        self.num_tokens = num_tokens

    @staticmethod
    @abstractmethod
    def matches(module: nn.Module) -> bool:
        """Whether this module is the root of a model of the family."""

    @classmethod
    @abstractmethod
    def of(cls, root: nn.Module) -> Self:
        """The host of a matching root.

        Raises:
            NotImplementedError: If this configuration of the family would break or be silently
                wrong.
        """

    @staticmethod
    @abstractmethod
    def attention_half(block: nn.Module, x: Tensor, attend: Attend) -> Attended:
        """Walk a block through its attention and residual, x (B, N, C)."""

    @staticmethod
    @abstractmethod
    def mlp_half(block: nn.Module, x: Tensor) -> Tensor:
        """Walk a block through its MLP and residual, (B, N, C) to (B, N, C)."""

    @staticmethod
    @abstractmethod
    def walked_around(block: nn.Module) -> dict[str, nn.Module]:
        """The modules of a block whose own forward is not called, by their class's full name."""

    @staticmethod
    @abstractmethod
    def sizes(block: nn.Module) -> BlockSizes:
        """What its cost depends on."""

    def reads_every_token(self) -> tuple[nn.Module, ...]:
        """Modules behind the blocks that run on every token and not on a pooled vector."""
        return ()

    @staticmethod
    @abstractmethod
    def attention_dropout(block: nn.Module) -> float:
        """The probability with which training drops attention weights."""


def is_a(module: nn.Module, *class_names: str) -> bool:
    """Whether a module's class, or one it inherits from, has one of these full names.

    Names instead of classes keep a host from importing the library of its models.
    """
    return any(full_name(c) in class_names for c in type(module).__mro__)


def full_name(module_class: type) -> str:
    """Module and name of a class."""
    return f"{module_class.__module__}.{module_class.__qualname__}"


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, H*D) -> (B, H, N, D)."""
    return x.reshape(*x.shape[:-1], num_heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, N, D) -> (B, N, H*D)."""
    return x.transpose(1, 2).flatten(2)
