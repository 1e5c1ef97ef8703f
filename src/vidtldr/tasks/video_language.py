"""Answer a question about a video freely, with a video language model of transformers.

Letters: `T` frames, `H` and `W` the upright picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.registry import find_host
from vidtldr.patch.patching import trace
from vidtldr.tasks.checkpoint import load_weights, read_config, reason_of
from vidtldr.tasks.model_files import model_source
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.pretrained import DEFAULT_FRAMES, resolve_device, resolve_dtype
from vidtldr.video.decode import Clip

__all__ = ["FreeAnswer", "VideoLanguageModel", "load_video_language_model"]

#: What processors of transformers need that this package does not install.
_PACKAGES = ("torchvision", "num2words", "sentencepiece", "protobuf")


@dataclass(frozen=True)
class FreeAnswer:
    """What a model says, and the tokens of its vision tower.

    Attributes:
        text: The answer, without special tokens.
        num_tokens: Tokens after each layer of the tower, of one frame or tile.
    """

    text: str
    num_tokens: list[int]


@dataclass(frozen=True)
class VideoLanguageModel:
    """A loaded model with its processor.

    Attributes:
        model: In evaluation mode, on its device, with fused attention; merges if it is patched.
        processor: The model's own, with its chat template and tokenizer.
        num_frames: Frames of a video that it sees.
    """

    model: Any
    processor: Any
    num_frames: int

    @property
    def takes_videos(self) -> bool:
        """Whether the processor knows videos; otherwise frames are separate images."""
        return getattr(self.processor, "video_processor", None) is not None

    def with_model(self, model: nn.Module) -> "VideoLanguageModel":
        """The same with another model, such as its `merged_twin`."""
        return replace(self, model=model)

    def inputs(self, clip: Clip, question: str) -> dict[str, Any]:
        """Make the model's inputs from a clip and a question.

        Args:
            clip: Frames as decoded, (T, H, W, 3).
            question: As typed.

        Raises:
            ValueError: If the question contains one of the model's own special tokens, the
                processor cannot make inputs of the clip, or they are too long for the model.
        """
        self.validate_question(question)
        kind = "video" if self.takes_videos else "image"
        pictures = [{"type": kind}] * (1 if self.takes_videos else len(clip.frames))
        content = [*pictures, {"type": "text", "text": question}]
        frames = clip.frames.numpy()
        settings: dict[str, Any] = {"return_tensors": "pt"}
        if self.takes_videos:
            metadata = _metadata(clip)
            settings |= {
                "videos": [frames],
                "video_metadata": [metadata],
                "do_sample_frames": False,
            }
        else:
            settings["images"] = [list(frames)]
        try:
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            start = self.processor.tokenizer.bos_token
            if start and prompt.startswith(start):  # the template's own must not come twice
                settings["add_special_tokens"] = False
            found = self.processor(text=[prompt], **settings)
        except Exception as error:  # templates and processors are the checkpoint's: anything can be
            raise ValueError(
                f"`model` must have a processor that takes {clip.frames.shape[0]} frames and a "
                f"question, got {reason_of(error)}. Check its chat template and processor config, "
                "or ask for other `frames`."
            ) from error
        self._validate_length(found["input_ids"].shape[1], len(clip.frames))
        parameter = next(self.model.parameters())
        return {
            name: x.to(parameter.device, parameter.dtype if x.is_floating_point() else x.dtype)
            for name, x in found.items()
            if isinstance(x, Tensor)
        }

    def answer(self, inputs: Mapping[str, Any], max_new_tokens: int) -> FreeAnswer:
        """Generate the likeliest next tokens one by one, until the model ends or the limit.

        Raises:
            FloatingPointError: If the model's logits are not finite.
            ValueError: If its config, processor and weights do not fit each other.
        """
        num_prompt = inputs["input_ids"].shape[1]
        if self.context is not None:
            max_new_tokens = min(max_new_tokens, self.context - num_prompt)
        with trace(self.model) as recorded:
            generated = self._generate(inputs, max_new_tokens)
        new = generated[0, num_prompt:]
        text = self.processor.tokenizer.decode(new, skip_special_tokens=True)
        return FreeAnswer(text.strip(), recorded.num_tokens)

    def first_token(self, inputs: Mapping[str, Any]) -> None:
        """Run what comes before an answer's first token shows: tower, language model, choice."""
        self._generate(inputs, 1)

    @property
    def context(self) -> int | None:
        """Tokens that the language model can read and write; None if its config names no limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit if isinstance(limit, int) else None

    @torch.inference_mode()
    def _generate(self, inputs: Mapping[str, Any], max_new_tokens: int) -> Tensor:
        try:
            generated: Tensor = self.model.generate(
                **inputs, max_new_tokens=max_new_tokens, logits_processor=[_refuse_nan]
            )
        except (LookupError, AttributeError, TypeError) as error:
            raise ValueError(
                "`model` must have a config, a processor and weights that fit each other, got "
                f"{reason_of(error)}. Copy the whole directory again."
            ) from error
        return generated

    def _validate_length(self, num_tokens: int, num_frames: int) -> None:
        if self.context is not None and num_tokens >= self.context:
            raise ValueError(
                f"`frames` must leave room in the model's context of {self.context} tokens, got a "
                f"prompt of {num_tokens} for {num_frames} frames. Use fewer `frames`, or a "
                "shorter question."
            )

    def validate_question(self, question: str) -> None:
        """Check that a question contains no special token, which could stand for a picture.

        Raises:
            ValueError: If it does.
        """
        tokenizer = self.processor.tokenizer
        names = ("image_token", "video_token")
        own = {getattr(self.processor, name, None) for name in names}
        for token in sorted({*tokenizer.all_special_tokens, *filter(None, own)}):
            if token in question:
                raise ValueError(
                    f"QUESTION must not contain {token!r}, a special token of the model, got "
                    f"{question!r:.100}. Rephrase it."
                )


def _refuse_nan(_input_ids: Tensor, scores: Tensor) -> Tensor:
    """A step of generation that changes nothing: what is not finite would be an empty answer."""
    if not scores.amax(dim=-1).isfinite().all():
        raise FloatingPointError("the model's logits must be finite, got NaN or inf. Use float32.")
    return scores


def load_video_language_model(spec: ModelSpec) -> VideoLanguageModel:
    """Load a video language model with its processor.

    Args:
        spec: The model, not of UMT; `frames` is 8 if None.

    Raises:
        FileNotFoundError: If the model or its processor is missing, or the hub cannot be reached.
        ValueError: If it is no such model, has no known tower or no chat template, or a weight is
            missing.
        ImportError: If its processor needs a package that is not installed.
    """
    name = spec.model
    assert name is not None  # it would be UMT
    device = resolve_device(spec.device)
    dtype = resolve_dtype(spec.dtype, device)
    source = model_source(name)
    model_class = _class_of(read_config(source), name)
    processor = _read_processor(source, name)
    if getattr(processor, "chat_template", None) is None:
        raise ValueError(
            f"`model={name}` must have a chat template (chat_template.jinja), got none. Name a "
            "model that was trained to follow instructions."
        )
    model = load_weights(source, model_class, dtype)
    if dtype is None and device.type == "cpu":
        model = model.float()
    model = model.eval().to(device)
    find_host(model)  # fail before any video is read
    model.generation_config = _greedy(model.generation_config, processor.tokenizer)
    return VideoLanguageModel(model, processor, spec.frames or DEFAULT_FRAMES)


def _greedy(own: Any, tokenizer: Any) -> Any:
    """Generation by the likeliest token, with nothing of a checkpoint's but where texts end."""
    from transformers import GenerationConfig

    ends = getattr(own, "eos_token_id", None)
    return GenerationConfig(
        do_sample=False,
        bos_token_id=getattr(own, "bos_token_id", None),
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=getattr(own, "pad_token_id", None),
    )


def _class_of(config: Any, name: str) -> str:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )

    known = {
        *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values(),
        *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.values(),
    }
    named = config.architectures
    saved_as = str(named[0]) if isinstance(named, list) and named else ""
    if saved_as not in known:
        raise ValueError(
            f"`model` must be UMT (umt:CHECKPOINT) or a video language model to answer questions, "
            f"got {saved_as or config.model_type!r} in {name!r}. Pass, for example, a "
            "LLaVA-OneVision, InternVL or SmolVLM."
        )
    return saved_as


def _read_processor(source: str, name: str) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(source, trust_remote_code=False)
    except ImportError as error:
        raise ImportError(_missing_package(name, error)) from error
    except OSError as error:
        raise FileNotFoundError(
            f"`model={name}` must have its processor's files (processor_config.json, "
            f"preprocessor_config.json, tokenizer.json), got {reason_of(error)}. Copy the whole "
            "directory."
        ) from error
    except Exception as error:  # hostile files can raise anything
        raise ValueError(
            f"`model={name}` must have a processor that transformers can read, got "
            f"{reason_of(error)}. Correct its files; code of its own is never run."
        ) from error
    if getattr(processor, "tokenizer", None) is None:
        raise ValueError(
            f"`model={name}` must have a processor with a tokenizer, got "
            f"{type(processor).__name__}. Copy the whole directory."
        )
    return processor


def _missing_package(name: str, error: ImportError) -> str:
    words = str(error).lower()
    package = next((each for each in _PACKAGES if each in words), None)
    if package is None:
        return f"`model={name}` has a processor that cannot be imported: {reason_of(error)}"
    fits = ", in the version for your torch (pytorch.org)" * (package == "torchvision")
    return (
        f"`model={name}` has a processor that needs {package}, which is not installed. Run: "
        f"pip install {package}{fits}."
    )


def _metadata(clip: Clip) -> Any:
    from transformers.video_utils import VideoMetadata

    height, width = clip.size
    total, seconds = clip.num_frames_in_file, clip.duration_seconds
    return VideoMetadata(
        total_num_frames=total,
        fps=total / seconds if seconds else None,
        width=width,
        height=height,
        duration=seconds,
        frames_indices=list(clip.indices),
    )
