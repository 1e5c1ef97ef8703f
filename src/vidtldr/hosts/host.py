"""The contract between the method and one family of models.

Letters: `B` clips, `N` tokens now, `C` channels, `H` heads, `D` channels a head.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

from torch import Tensor, nn

from vidtldr.config import Output, Pooling
from vidtldr.hosts.pooling_step import PoolingStep
from vidtldr.model_kind import ModelKind
from vidtldr.ops.attention import AttentionOutput

__all__ = [
    "Attend",
    "Attended",
    "AttentionFlops",
    "BlockSizes",
    "Host",
    "full_name",
    "is_a",
    "join_heads",
    "split_heads",
    "validate_plain_attention",
]


class Attend(Protocol):
    """Attention with the mass, score and implementation of the current layer."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
        """Attend with queries, keys and values of shape (B, H, N, D).

        B and N are those of the block's tokens, unless `Host.mass_of_keys` says otherwise.
        """


class Attended(NamedTuple):
    """The state of a block half way: after attention and its residual, before the MLP.

    Attributes:
        x: Tokens, shape (B, N, C).
        score: Score of each token, shape (B, N), or None.
        keys: Keys of the attention, shape (B, H, N, D), or their mean over heads, (B, 1, N, D).
    """

    x: Tensor
    score: Tensor | None
    keys: Tensor


class BlockSizes(NamedTuple):
    """Sizes that the cost of a block depends on, besides its linear layers.

    Attributes:
        num_heads: H.
        head_channels: D.
        mlp: The modules of its second half; every linear layer of the block that is not in them
            belongs to attention.
    """

    num_heads: int
    head_channels: int
    mlp: tuple[nn.Module, ...]


class AttentionFlops(NamedTuple):
    """FLOPs of a block's first half as a polynomial in the tokens, or tubes, that enter it.

    Attributes:
        constant: Whatever their number.
        per_token: For each of them, extra tokens included.
        per_pair: For each pair of them.
    """

    constant: int
    per_token: int
    per_pair: int


class Host(ABC):
    """Adapter that finds the blocks of one model family and runs them in halves.

    One object belongs to one loaded model and holds no state of a forward pass.

    Attributes:
        family: The family's name, as errors and the README list it.
        grid_methods: Methods of the root that lay tokens out on their grid; they raise while the
            model merges and passes on merged tokens.
        is_rotary: Whether each block turns queries and keys by the positions of their tokens.
        returns_tuple: Whether a block returns its tokens as the first element of a pair, behind
            which come attention maps.
        is_packed: Whether blocks take the tokens of all clips, or frames, as one sequence (B * N,
            C), which `unpack` lays out as a batch; calls of which `is_batch` says no run unmerged.
            Such a family passes on the grid.
        grid_classes: Classes that read a token of every place in a way that merged tokens would
            change, by full name: anywhere in the model, they make `output="auto"` the grid.
        grid_only_classes: Those of them that fail or are silently wrong without the grid.
        mass_classes: Those of these that are right without it where pooling is by mass.
        pooling_method: Method of the root that pools the last block's tokens by their mean, and by
            their mass if that is its second argument; None where the family has none.
        root: The module of the family that owns the blocks.
        model: The module that holds the root, or the root itself.
        blocks: Its transformer blocks, first layer first.
        num_prefix_tokens: Class and register tokens at the front of the sequence.
        num_tokens: Tokens that enter the first block, prefix and suffix included; None if it
            depends on the input.
        num_suffix_tokens: Tokens at the back of the sequence that are attended to and never scored
            or merged, as those in front.
        tube_length: T where only tubes merge, the T neighbouring tokens of one place in all frames,
            because attention over time takes them for one place; counts in a schedule are tubes
            then. Else 1.
        batch_multiple: The batch of the blocks is a multiple of it: frames of one clip that
            exchange something. Else 1.
    """

    family: ClassVar[str]
    grid_methods: ClassVar[tuple[str, ...]] = ()
    is_rotary: bool = False
    returns_tuple: ClassVar[bool] = False
    is_packed: ClassVar[bool] = False
    grid_classes: ClassVar[tuple[str, ...]] = ()
    grid_only_classes: ClassVar[tuple[str, ...]] = ()
    mass_classes: ClassVar[tuple[str, ...]] = ()
    pooling_method: ClassVar[str | None] = None

    def __init__(
        self,
        root: nn.Module,
        blocks: Sequence[nn.Module],
        num_prefix_tokens: int,
        num_tokens: int | None,
        *,
        num_suffix_tokens: int = 0,
        tube_length: int = 1,
        batch_multiple: int = 1,
    ) -> None:
        self.root = self.model = root
        self.blocks = list(blocks)
        self.num_prefix_tokens = num_prefix_tokens
        self.num_tokens = num_tokens
        self.num_suffix_tokens = num_suffix_tokens
        self.tube_length = tube_length
        self.batch_multiple = batch_multiple

    @property
    def kind(self) -> ModelKind:
        """What a schedule for this model depends on."""
        return ModelKind(self.family, len(self.blocks), self.num_tokens)

    @property
    def num_extra_tokens(self) -> int:
        """Tokens in front and behind that never merge."""
        return self.num_prefix_tokens + self.num_suffix_tokens

    @property
    def num_mergeable(self) -> int | None:
        """Tokens, or tubes, of the first block that may merge; None if the input decides."""
        if self.num_tokens is None:
            return None
        return (self.num_tokens - self.num_extra_tokens) // self.tube_length

    def tokens_of(self, num_mergeable: int) -> int:
        """Number of tokens with so many mergeable tokens, or tubes."""
        return self.num_extra_tokens + num_mergeable * self.tube_length

    @staticmethod
    @abstractmethod
    def matches(module: nn.Module) -> bool:
        """Whether this module is the root of a model of the family."""

    @classmethod
    @abstractmethod
    def of(cls, root: nn.Module) -> Self:
        """Make the host of a matching root.

        Raises:
            NotImplementedError: If this configuration of the family would break or be silently
                wrong.
        """

    @staticmethod
    def is_batch(inputs: Mapping[str, Any]) -> bool:
        """Whether the clips that a packed family gets are of one length.

        Args:
            inputs: Keyword arguments with which a block was called.
        """
        raise NotImplementedError  # only packed families have it

    @staticmethod
    def unpack(x: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Lay out packed tokens (B * N, C) clip by clip, (B, N, C)."""
        raise NotImplementedError  # only packed families have it

    @staticmethod
    @abstractmethod
    def attention_half(block: nn.Module, x: Tensor, attend: Attend) -> Attended:
        """Run a block's attention and residual on x (B, N, C).

        Where the family is rotary, `attend` gets queries and keys as they were projected and turns
        them itself, by `rotate`. What is returned belongs to the tokens of x, also where other
        queries and keys attend (`mass_of_keys`).
        """

    @staticmethod
    def mass_of_keys(block: nn.Module, mass: Tensor) -> Tensor:
        """Mass of the keys that `attention_half` attends with, from that of the tokens (B, N).

        The same, unless a block adds tokens for its attention, or frames attend by themselves.
        """
        return mass

    @staticmethod
    def rotate(
        block: nn.Module, q: Tensor, k: Tensor, places: Tensor, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Turn queries and keys (B, H, N, D) by position, with the family's own function.

        Args:
            block: The block that attends.
            q: Queries.
            k: Keys.
            places: Index of each token's place in the original sequence, shape (B, N), int64.
            inputs: Keyword arguments with which the block was called.
        """
        raise NotImplementedError  # only rotary families have it

    @staticmethod
    @abstractmethod
    def mlp_half(block: nn.Module, x: Tensor) -> Tensor:
        """Run a block's MLP and residual, (B, N, C) to (B, N, C)."""

    @staticmethod
    @abstractmethod
    def walked_around(block: nn.Module) -> dict[str, nn.Module]:
        """The modules of a block whose own forward is not called, by their class's full name."""

    @staticmethod
    def not_called(block: nn.Module) -> tuple[nn.Module, ...]:
        """Linear layers whose weights are read past their forward, and dropout of attention maps.

        They are modules inside those of `walked_around` that walking the block does not call.
        """
        return ()

    @staticmethod
    @abstractmethod
    def sizes(block: nn.Module) -> BlockSizes:
        """Sizes that the block's cost depends on."""

    @classmethod
    def attention_flops(cls, block: nn.Module, linear_flops: Callable[..., int]) -> AttentionFlops:
        """FLOPs of a block's first half.

        Args:
            block: The block.
            linear_flops: Counts those of all linear layers in some modules, for one token.
        """
        sizes = cls.sizes(block)
        per_token = linear_flops(block) - linear_flops(*sizes.mlp)
        return AttentionFlops(0, per_token, 4 * sizes.num_heads * sizes.head_channels)

    @property
    def pools_by_mass(self) -> bool:
        """Whether `pooling="mass"` means something for the model at hand."""
        return self.pooling_method is not None or bool(self.pooling_steps())

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The modules from the last block to a pooled vector, in order, if tokens pool there."""
        return ()

    def grid_modules(self) -> tuple[nn.Module, ...]:
        """Modules that refuse to run while merged tokens are passed on."""
        return ()

    def is_inside(self, *class_names: str) -> bool:
        """Whether a module of one of these classes, by full name, holds the root.

        It may be inside `model`, as under an adapter.
        """
        return any(is_a(module, *class_names) for module in self.model.modules())

    def output_of(self, output: Output, pooling: Pooling) -> Literal["tokens", "grid"]:
        """What the blocks pass on, with `"auto"` resolved for the model at hand.

        Pooling by mass is for tokens: on the grid every place counts once.

        Raises:
            NotImplementedError: If `"tokens"` would break the model or make it silently wrong.
        """
        if output == "grid":
            return "grid"
        if self.pooling_method is None and pooling == "mass":
            output = "tokens"
        names = (*self.grid_classes, *self.grid_only_classes)
        readers = [module for module in self.model.modules() if is_a(module, *names)]
        if output == "auto":
            return "grid" if readers or self._is_a_tower() else "tokens"
        if self._is_a_tower():
            raise NotImplementedError(
                f"output must be 'grid' for a tower inside {type(self.model).__name__}, which may "
                "read every place, got 'tokens'. Pass output='grid', or patch the tower itself."
            )
        refusing = set(self.grid_only_classes)
        if pooling == "mass":
            refusing -= set(self.mass_classes)
        for reader in readers:
            if is_a(reader, *refusing):
                raise NotImplementedError(
                    f"output must be 'grid' for {type(reader).__name__}, which needs a token at "
                    "every place, got 'tokens'. Pass output='grid'."
                )
        return "tokens"

    def _is_a_tower(self) -> bool:
        """Whether the root is part of a model of another family, such as a language model's tower.

        What such a model reads of the tower is not known here; mostly it is every place.
        """
        own = type(self.root).__module__.rpartition(".")[0]
        packages = {type(module).__module__.rpartition(".")[0] for module in self.model.modules()}
        # Transformers' wrapper of timm passes on what timm's model makes of its tokens.
        others = packages - {own, "transformers.models.timm_wrapper"}
        return any(package.startswith("transformers.models.") for package in others)

    def reads_every_token(self) -> tuple[nn.Module, ...]:
        """Modules after the blocks that run on every token, not on a pooled vector."""
        return ()

    def probe(self) -> nn.MultiheadAttention | None:
        """The attention by which one query reads every token after the blocks, if there is one."""
        return None

    def readout_flops(self) -> tuple[int, int]:
        """FLOPs after the blocks that no linear layer and no probe shows: once, and each token."""
        return 0, 0

    def warn_about_weights(self) -> None:
        """Warn if a library is known to load this family's weights wrongly; by default never."""
        return

    @staticmethod
    @abstractmethod
    def attention_dropout(block: nn.Module) -> float:
        """The probability with which training drops attention weights."""


def is_a(module: object, *class_names: str) -> bool:
    """Whether an object's class, or one it inherits from, has one of these full names.

    Comparing names saves a host from importing the library of its models.
    """
    return any(full_name(c) in class_names for c in type(module).__mro__)


def full_name(module_class: type) -> str:
    """Module and name of a class."""
    return f"{module_class.__module__}.{module_class.__qualname__}"


def validate_plain_attention(host: Host, what: str) -> None:
    """Check that a family's attention depends on nothing but the tokens.

    Raises:
        NotImplementedError: If it turns queries and keys by position, or takes neighbouring tokens
            for one place.
    """
    if host.is_rotary or host.tube_length > 1 or host.num_suffix_tokens:
        raise NotImplementedError(
            f"{what} must be used on a model without rotary positions, divided attention or tokens "
            f"behind the patches, got {host.family}. Compare with another baseline."
        )


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, H*D) -> (B, H, N, D)."""
    return x.reshape(*x.shape[:-1], num_heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, N, D) -> (B, N, H*D)."""
    return x.transpose(1, 2).flatten(2)
