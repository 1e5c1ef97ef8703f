"""The forward of every block from the first merging layer on.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vidtldr.budget.by_size import BudgetBySize
from vidtldr.config import MergeConfig
from vidtldr.exporting import is_exporting, is_tracing
from vidtldr.hosts.host import Attend, Attended, Host
from vidtldr.hosts.merging import Merged, merge_attended, unit_mass
from vidtldr.hosts.token_score import ATTENTION_SCORES
from vidtldr.method.source import places_after, unmerge_tokens, update_source
from vidtldr.ops.attention import AttentionOutput, AttentionScore, attend
from vidtldr.patch.bypassed import validate_bypassed
from vidtldr.patch.made_masks import MadeMasks
from vidtldr.patch.replicas import Replacement
from vidtldr.patch.trace import active_traces_of
from vidtldr.patch.under_way import UnderWay

__all__ = ["MergingForward", "mass_of", "mass_on", "put_mass_on", "tokens_of"]

# Mass travels from block to block as an attribute of the tensor that a block returns, and so do the
# merged tokens where that tensor is the grid, and the places of tokens where positions enter every
# layer. No result depends on other state, so threads, exceptions, recomputation under gradient
# checkpointing and compilation need no special care, and a tensor replaced on the way is noticed
# instead of being weighted by another forward's mass.
_MASS = "_vidtldr_mass"
_TOKENS = "_vidtldr_tokens"
_SOURCE = "_vidtldr_source"
_PLACES = "_vidtldr_places"


class _State(NamedTuple):
    """What blocks pass on.

    Attributes:
        x: Tokens, shape (B, N, C).
        mass: Their mass, shape (B, N); None before the first merging layer, where all is 1.
        source: Index of the token that holds each original place, shape (B, N0), int64; None where
            neither a grid nor a budget needs it.
        places: Index of the place where each token stands, shape (B, N), int64; None where no layer
            reads positions.
    """

    x: Tensor
    mass: Tensor | None
    source: Tensor | None
    places: Tensor | None


class MergingForward(Replacement):
    """Replacement for `block.forward`: attention in proportion to mass, merging, then the MLP.

    It lives in the block's instance dictionary, where hooks, `state_dict`, `deepcopy`, `pickle`,
    gradient checkpointing and accelerate's hooks ignore it or carry it along.

    Attributes:
        config: The schedule that it follows, with a budget resolved to counts and the output to
            tokens or the grid.
        asked: The config as passed by the user.
        under_way: The patch's forwards in all threads.
        by_size: Resolves a budget in each forward, where the input decides the number of tokens;
            else None.
        masks: Whether a mask in an exported graph was made by the root.
    """

    def __init__(
        self,
        host: Host,
        layer: int,
        config: MergeConfig,
        asked: MergeConfig,
        under_way: UnderWay | None = None,
        by_size: BudgetBySize | None = None,
        masks: MadeMasks | None = None,
    ) -> None:
        self.module = host.blocks[layer]
        self.under_way = under_way or UnderWay()
        self.masks = masks or MadeMasks()
        self.walk = type(host)
        self.num_prefix_tokens = host.num_prefix_tokens
        self.num_suffix_tokens = host.num_suffix_tokens
        self.tube_length = host.tube_length
        self.layer = layer
        self.by_size = by_size
        self.is_first = layer == (by_size or config).first_merging_layer
        # The next block reads the mass, and pooling by mass reads it after the last.
        self.passes_on_mass = layer < len(host.blocks) - 1 or config.pooling == "mass"
        self.gives_grid = config.output == "grid"
        self.keeps_source = self.gives_grid or by_size is not None
        self.is_rotary, self.returns_tuple = host.is_rotary, host.returns_tuple
        self.is_packed = host.is_packed
        self.config = config
        self.asked = asked
        # A budget became counts for this number of tokens.
        self.num_tokens = host.num_tokens if asked.is_budget else None

    def __repr__(self) -> str:
        """The layer and its config."""
        return f"MergingForward(layer={self.layer}, {self.config!r})"

    def __call__(
        self, x: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor | tuple[Tensor, None]:
        """Run the block on tokens (B, N, C), or on the grid (B, N0, C) that carries them.

        A packed family has (B * N0, C); clips of several lengths run unmerged.

        Returns:
            Tokens, shape (B, N - r, C), or their grid, shape (B, N0, C) or packed (B * N0, C); in a
            pair if the family's blocks return one.

        Raises:
            NotImplementedError: If an attention mask, attention maps or attention dropout are
                requested, or something hooks or replaces a forward that is not called here.
            ValueError: If the layer is asked to remove more than half of its tokens, or a budget
                runs on another number of tokens than it was resolved for.
            RuntimeError: If the tokens do not come from the block before.
        """
        x = kwargs["hidden_states"] if x is None else x  # transformers' name for it
        if torch.compiler.is_compiling():  # a compiled patch is not removed
            return self._as_the_block_does(self._merge_in_block(x, args, kwargs))
        self.under_way.keep(x)
        carries_none = self.is_first or mass_on(x) is None
        if carries_none and (self.under_way.is_over or self._cannot_unpack(kwargs)):
            self.under_way.end()
            kwargs.pop("hidden_states", None)
            unmerged: Tensor = type(self.module).forward(self.module, x, *args, **kwargs)
            return unmerged
        try:
            out = self._merge_in_block(x, args, kwargs)
        except BaseException:
            self.under_way.end()
            raise
        if self.passes_on_mass:
            self.under_way.keep(out)
        else:
            self.under_way.end()
        return self._as_the_block_does(out)

    def _cannot_unpack(self, inputs: Mapping[str, Any]) -> bool:
        if not self.is_packed or self.walk.is_batch(inputs):
            return False
        self.under_way.warn_once(
            "the images or frames of one call must all have the same number of patches to merge, "
            "got several sizes: this call runs unmerged, and so will others like it. Pass them one "
            "by one, or resize them."
        )
        return True

    def _as_the_block_does(self, x: Tensor) -> Tensor | tuple[Tensor, None]:
        return (x, None) if self.returns_tuple else x

    def _merge_in_block(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self._refuse_what_cannot_work(args, kwargs)
        state = self._start(x, kwargs) if self.is_first else self._state_of(x)
        run = partial(self._run, inputs=kwargs)
        if self._recomputes():
            state = _State(*self.module._gradient_checkpointing_func(run, *state))
        else:
            state = run(*state)
        return self._handed_on(state)

    def _start(self, x: Tensor, inputs: Mapping[str, Any]) -> _State:
        if self.is_packed:
            if torch.compiler.is_compiling():  # else it was asked before
                self.walk.is_batch(inputs)
            x = self.walk.unpack(x, inputs)
        if self.num_tokens not in (None, x.shape[1]):
            raise ValueError(
                f"a budget must run on the {self.num_tokens} tokens of the model's config, got "
                f"{x.shape[1]}: its counts would be another share of them. Set the size of images "
                "or clips in the config before patching, or pass ratio=[0.25, 0.1]."
            )
        if is_tracing():
            # The graph holds for this number of tokens. OpenVINO must know, or it takes the numbers
            # of sources and destinations for each other's.
            x = x.reshape(-1, *map(int, x.shape[1:]))
        places = None
        if self.keeps_source or self.is_rotary:
            places = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        return _State(
            x, None, places if self.keeps_source else None, places if self.is_rotary else None
        )

    def _state_of(self, x: Tensor) -> _State:
        mass = mass_of(x, f"layer {self.layer}", self.layer - 1, is_grid=self.gives_grid)
        return _State(
            getattr(x, _TOKENS) if self.gives_grid else x,
            mass,
            getattr(x, _SOURCE) if self.keeps_source else None,
            getattr(x, _PLACES) if self.is_rotary else None,
        )

    def _handed_on(self, state: _State) -> Tensor:
        x, mass, source, places = state
        if self.gives_grid:
            assert source is not None
            grid = unmerge_tokens(x, source)
            grid = grid.flatten(0, 1) if self.is_packed else grid
            setattr(grid, _TOKENS, x)
            x = grid
        if source is not None:
            setattr(x, _SOURCE, source)
        if self.passes_on_mass:
            assert mass is not None  # every layer from the first merging one on has it
            put_mass_on(x, mass)
            if places is not None:
                setattr(x, _PLACES, places)
        return x

    def _run(
        self,
        x: Tensor,
        mass: Tensor | None,
        source: Tensor | None,
        places: Tensor | None,
        *,
        inputs: Mapping[str, Any],
    ) -> _State:
        if self.by_size is None:
            r = self.config.num_removed(self.layer, self._num_mergeable(x.shape[1]))
        else:
            assert source is not None
            of_layers = self.by_size.r_for(self._num_mergeable(source.shape[1]))
            r = of_layers[self.layer] if self.layer < len(of_layers) else 0
        score: AttentionScore | None = None
        if r and self.config.score is not None:
            score = ATTENTION_SCORES.get(self.config.score)

        of_keys = None if mass is None else self.walk.mass_of_keys(self.module, mass)
        attend_here = partial(self._attend, mass=of_keys, score=score)
        if places is not None:
            attend_here = partial(self._attend_at, attend_here, places, inputs)
        attended = self.walk.attention_half(self.module, x, attend_here)
        x = attended.x
        if r:
            merged = self.merge(attended, mass, r)
            x, mass = merged.x, merged.mass
            source = None if source is None else update_source(source, merged.match)
            places = None if places is None else places_after(places, merged.match)
        elif mass is None:
            mass = unit_mass(x)
        del attended  # its keys keep queries, keys and values alive, which the MLP does not need
        return _State(self.walk.mlp_half(self.module, x), mass, source, places)

    def _num_mergeable(self, num_tokens: int) -> int:
        return (num_tokens - self.num_prefix_tokens - self.num_suffix_tokens) // self.tube_length

    def _attend_at(
        self,
        attend_here: Attend,
        places: Tensor,
        inputs: Mapping[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
    ) -> AttentionOutput:
        q, k = self.walk.rotate(self.module, q, k, places, inputs)
        return attend_here(q, k, v, scale=scale)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
        mass: Tensor | None,
        score: AttentionScore | None,
    ) -> AttentionOutput:
        return attend(q, k, v, scale=scale, mass=mass, score=score, impl=self.config.impl)

    def merge(self, attended: Attended, mass: Tensor | None, r: int) -> Merged:
        """Score, match and merge tokens between attention and MLP.

        Args:
            attended: The block's state after attention.
            mass: Of each token, shape (B, N); None where all is 1.
            r: Tokens to remove.
        """
        merged = merge_attended(
            attended,
            mass,
            r,
            self.config,
            num_prefix_tokens=self.num_prefix_tokens,
            mlp_half=partial(self.walk.mlp_half, self.module),
            num_suffix_tokens=self.num_suffix_tokens,
            tube_length=self.tube_length,
        )
        for recorded in active_traces_of(self.module):
            recorded.record_merge(
                self.layer, merged.match, merged.mass, merged.score, merged.weights
            )
        return merged

    def _recomputes(self) -> bool:
        """Whether this forward must do gradient checkpointing, like the one it replaces.

        Before 5.18, transformers did it in the block's `__call__`.
        """
        is_asked = self.module.training and getattr(self.module, "gradient_checkpointing", False)
        return is_asked and type(self.module).__call__ is nn.Module.__call__

    def _refuse_what_cannot_work(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        validate_bypassed(self.walk, self.module, self.layer)  # it may have come after the patch
        masks = [*args, kwargs.get("attention_mask"), kwargs.get("attn_mask")]
        # TimeSformer passes `output_attentions` by position.
        is_masked = any(mask is not None and not isinstance(mask, bool) for mask in masks)
        is_masked = is_masked and not (self.masks.is_made and is_exporting())
        if is_masked or kwargs.get("is_causal"):
            raise NotImplementedError(
                "attention_mask must be None where tokens merge, got a mask: it is made for "
                "tokens that are merged away. Run clips without padding, or remove_patch(model) "
                "first. If you gave none, transformers made it: for ViViT it does so with "
                "flex_attention (call model.set_attn_implementation('sdpa')), and before 5.18 in "
                "torch.compile (upgrade it); for SigLIP 2 (NaFlex) pass images of the same number "
                "of patches, and to an exporter pixel_attention_mask=None."
            )
        if self.module.training and self.walk.attention_dropout(self.module) > 0:
            raise NotImplementedError(
                "attention dropout must be 0 to train where tokens merge, got "
                f"{self.walk.attention_dropout(self.module)}. Set it to 0 in the model's config, "
                "or call model.eval()."
            )


def mass_on(x: Tensor) -> Tensor | None:
    """The mass that tokens carry, shape (B, N), or None."""
    return getattr(x, _MASS, None)


def put_mass_on(x: Tensor, mass: Tensor) -> None:
    """Let tokens, or the grid that carries them, carry their mass."""
    setattr(x, _MASS, mass)


def mass_of(x: Tensor, reader: str, writer_layer: int, *, is_grid: bool = False) -> Tensor:
    """The mass that tokens carry from the layer before.

    Args:
        x: Tokens, shape (B, N, C), or the grid that carries them.
        reader: Who reads them, for the message.
        writer_layer: The layer that they come from.
        is_grid: Whether `x` is the grid.

    Raises:
        RuntimeError: If `x` is another tensor than that layer's output.
    """
    mass = mass_on(x)
    tokens: Tensor | None = getattr(x, _TOKENS, None) if is_grid else x
    if mass is None or tokens is None or mass.shape != tokens.shape[:2]:
        raise RuntimeError(
            f"the input of {reader} must be the output of layer {writer_layer} itself, got another "
            "tensor: a hook, a device boundary or re-entrant checkpointing exchanged it, and its "
            "mass is lost; or another thread patched the model meanwhile. Remove the hook, keep "
            "the model on one device, use use_reentrant=False, patch before the threads start."
        )
    return mass


def tokens_of(x: Tensor, host: Host, inputs: Mapping[str, Any]) -> Tensor:
    """Tokens (B, N, C) of what enters or leaves a block, merged ones where it is the grid.

    Args:
        x: What the block gets or returns.
        host: The host of its model.
        inputs: Keyword arguments with which the block was called.

    Returns:
        The tokens; those of a packed call that runs unmerged as one clip.
    """
    tokens: Tensor | None = getattr(x, _TOKENS, None)
    if tokens is not None:
        return tokens
    if not host.is_packed:
        return x
    return host.unpack(x, inputs) if host.is_batch(inputs) else x.unsqueeze(0)


def merging_forward_of(module: nn.Module) -> MergingForward | None:
    """The merging forward installed on a module, also behind an accelerate hook, or None."""
    for name in ("forward", "_old_forward"):
        forward = vars(module).get(name)
        if isinstance(forward, MergingForward):
            return forward
    return None
