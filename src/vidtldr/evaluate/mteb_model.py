"""Score merging models with mteb, whose video benchmark is MVEB. Needs the extra `mteb`.

Letters: `B` inputs, `C` channels of a vector.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import islice
from os import PathLike
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.patch.patching import apply_patch, current_config
from vidtldr.pipeline.request import schedule_text
from vidtldr.tasks.clip_reader import ClipReader, Pixels, read_ahead, umt_reader
from vidtldr.tasks.embed import Embedder, pretrained_embedder, umt_embedder
from vidtldr.tasks.load import load_model, load_retrieval
from vidtldr.tasks.model_spec import UMT_PREFIX, ModelSpec
from vidtldr.tasks.text_features import encode_typed
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.video.decode import VideoError

if TYPE_CHECKING:
    from mteb.models import ModelMeta

__all__ = ["MTEBModel", "load_mteb_model", "patch_mteb_model"]

ModelT = TypeVar("ModelT")
_NUM_REVISION_DIGITS = 16


def patch_mteb_model(
    model: ModelT, config: MergeConfig | str | PathLike[str] | None = None, **merge_fields: Any
) -> ModelT:
    """Let a model that mteb loaded merge, in place; its results are kept apart.

    mteb stores results by a model's name, revision and settings, and reads them again instead of
    running it: the schedule becomes a setting, `merge`.

    Args:
        model: What `mteb.get_model` returns for a model of a known family, such as VideoMAE,
            V-JEPA 2 and X-CLIP; or a model of yours that holds its module as `model`.
        config: As for `apply_patch`.
        **merge_fields: As for `apply_patch`.

    Returns:
        The same model.

    Raises:
        TypeError: If it is no such model.
        ValueError, NotImplementedError, RuntimeError, FileNotFoundError: As `apply_patch`.
    """
    wrapper: Any = model
    module, meta = getattr(wrapper, "model", None), getattr(wrapper, "mteb_model_meta", None)
    if not isinstance(module, nn.Module) or meta is None:
        raise TypeError(
            "model must be one of mteb that holds a torch module as `model`, got "
            f"{type(model).__name__}. Load it by mteb.get_model; for one of load_mteb_model pass "
            "the schedule there."
        )
    apply_patch(module, config, **merge_fields)
    settings = {**(meta.experiment_kwargs or {}), "merge": _schedule_of(module)}
    wrapper.mteb_model_meta = meta.model_copy(update={"experiment_kwargs": settings})
    return model


def load_mteb_model(
    spec: ModelSpec, merge: MergeConfig | None = None, *, time_limit_seconds: float = 120.0
) -> "MTEBModel":
    """Load a model that this package knows for mteb, also one that mteb itself does not list.

    Args:
        spec: The model: UMT, a classifier or an encoder of transformers.
        merge: What to merge; None for nothing.
        time_limit_seconds: Time limit for reading a video.

    Raises:
        ImportError: If the extra `mteb` is not installed.
        ValueError, TypeError, NotImplementedError, OSError: As `load_embedder`.
    """
    _validate_extra()
    if spec.is_umt:
        model = load_retrieval(spec)
        reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
        embedder = umt_embedder(VideoEncoding(model, reader, merge))
        return MTEBModel(
            embedder, _meta_of(spec, embedder), partial(encode_typed, model, name="text")
        )
    pretrained, dual = load_model(spec)
    if merge is not None:
        apply_patch(pretrained.model, merge)
    embedder = pretrained_embedder(
        pretrained, merge=merge, time_limit_seconds=time_limit_seconds, dual=dual
    )
    texts = None if dual is None else dual.encode_texts
    return MTEBModel(embedder, _meta_of(spec, embedder), texts)


class MTEBModel:
    """A model of this package in the form of `mteb.models.EncoderProtocol`.

    Videos are decoded and sampled as in every command of this package, by PyAV, and need no
    torchcodec. A video that cannot be read ends the task: a score never leaves one out.

    Args:
        embedder: Turns clips into vectors.
        meta: What mteb records of the model; what it reads is added here.
        encode_texts: Encodes texts into the space of the vectors, (B, C), float32, on the CPU; None
            for a model that reads none.
        num_readers: Threads that decode videos.

    Attributes:
        mteb_model_meta: What mteb records.
    """

    def __init__(
        self,
        embedder: Embedder,
        meta: "ModelMeta",
        encode_texts: Callable[[Sequence[str]], Tensor] | None = None,
        *,
        num_readers: int = 2,
    ) -> None:
        modalities = ["video"] if encode_texts is None else ["video", "text"]
        self.mteb_model_meta = meta.model_copy(update={"modalities": modalities})
        self._embedder = embedder
        self._encode_texts = encode_texts
        self._num_readers = num_readers

    def encode(
        self, inputs: Any, *, task_metadata: Any, show_progress_bar: bool = True, **_: Any
    ) -> Tensor:
        """Encode the videos or the texts of a task; of inputs that are both, the sum.

        Dual encoders cut texts at their longest; UMT refuses one of more than 150 tokens.

        Args:
            inputs: A `DataLoader` over a `datasets.Dataset` with the column `video` or `text`.
            task_metadata: The task's, for messages.
            show_progress_bar: Whether to show one for videos.
            **_: The split, the subset and others that change nothing here.

        Returns:
            Vectors (B, C), float32, on the CPU.

        Raises:
            ValueError: If the inputs are neither, the model reads no texts or not so long ones, or
                a video cannot be read.
        """
        dataset, columns = inputs.dataset, set(inputs.dataset.column_names)
        parts = []
        if "video" in columns:
            parts.append(self._videos(dataset, inputs.batch_size or 1, show_progress_bar))
        if "text" in columns:
            if self._encode_texts is None:
                raise ValueError(
                    f"task must have videos alone for {self.mteb_model_meta.name}, which reads no "
                    f"texts, got {task_metadata.name}. Choose another task, or a model such as "
                    "X-CLIP."
                )
            parts.append(self._encode_texts(list(dataset["text"])))
        if not parts:
            raise ValueError(
                f"task must have videos or texts, got {task_metadata.name} with "
                f"{', '.join(sorted(columns))}. Choose a task of MVEB."
            )
        return torch.stack(parts).sum(dim=0)

    def _videos(self, dataset: Any, batch_size: int, shows_progress: bool) -> Tensor:
        from datasets import Video
        from tqdm.auto import tqdm

        rows = dataset.select_columns("video").cast_column("video", Video(decode=False))
        read = partial(_read, self._embedder.reader)
        clips = read_ahead(read, enumerate(row["video"] for row in rows), self._num_readers)
        shown = tqdm(clips, total=len(rows), desc="videos", disable=not shows_progress)
        batches = (torch.stack(batch) for batch in _in_batches(shown, batch_size))
        return torch.cat([self._embedder.encode(batch) for batch in batches])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs, as mteb computes them."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of corresponding vectors, as mteb computes them."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def _read(reader: ClipReader, numbered: tuple[int, Mapping[str, Any]]) -> Tensor:
    """Read one video of a dataset: the content of a file, or the path of one on this machine."""
    number, video = numbered
    try:
        return _pixels_of(reader, video["bytes"], video["path"] or "").values
    except VideoError as error:
        raise ValueError(
            f"task must have videos that can be read, got row {number} that cannot: {error}"
        ) from error


def _pixels_of(reader: ClipReader, content: bytes | None, path: str) -> Pixels:
    if content is None:
        return reader(path)
    with NamedTemporaryFile(suffix=Path(path).suffix) as file:
        file.write(content)
        file.flush()
        return reader(file.name)


def _in_batches(clips: Iterable[Tensor], batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    rest = iter(clips)
    while batch := tuple(islice(rest, batch_size)):
        yield batch


def _schedule_of(module: nn.Module) -> str:
    """What a module merges, with a budget as the counts that it became."""
    config = current_config(module)
    if config is None:
        return "none"
    host = find_host(module)
    if host.num_tokens is not None:
        config = resolve_budget(config, host)
    return schedule_text(config.to_dict())


def _meta_of(spec: ModelSpec, embedder: Embedder) -> "ModelMeta":
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction

    assert embedder.model is not None
    identity = embedder.identity()
    settings = {
        "dtype": identity["dtype"].removeprefix("torch."),
        "frames": embedder.reader.sampling.num_frames,
        "merge": schedule_text(identity["merge"]),
        "reader": "vidtldr",
    }
    about = {
        "name": _name_of(spec),
        "revision": identity["weights"][:_NUM_REVISION_DIGITS],  # other weights, other results
        "n_parameters": sum(each.numel() for each in embedder.model.parameters()),
        "embed_dim": embedder.num_channels,
        "framework": ["PyTorch"],
        "similarity_fn_name": ScoringFunction.COSINE,
        "experiment_kwargs": settings,
    }
    return ModelMeta.create_empty(about)


def _name_of(spec: ModelSpec) -> str:
    """OWNER/NAME, as mteb wants it; the owner of what is on this machine is `local`."""
    if spec.model is None:
        return "vidtldr/shapes"
    path = Path(spec.model.removeprefix(UMT_PREFIX))
    is_here = spec.is_umt or path.is_dir()
    return f"local/{path.resolve().name}" if is_here else spec.model


def _validate_extra() -> None:
    if sys.modules.get("mteb", ...) is None or find_spec("mteb") is None:
        raise ImportError(
            "mteb must be installed to score a model with it, got none. Run pip install "
            "'vidtldr[mteb]'."
        )
