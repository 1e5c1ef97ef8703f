"""Video language models with their own processors: frames as images, or as videos."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_chat, tiny_encoders
from support.film import write_film

import vidtldr
from vidtldr.patch.twin import merged_twin
from vidtldr.tasks.answer_comparison import compare_answers
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.video_language import VideoLanguageModel, load_video_language_model
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Sampling

QUESTION = "word3 word4"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chat") / "llava"
    tiny_chat.write_llava(directory)
    return directory


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    film = write_film(tmp_path_factory.mktemp("films") / "film.mp4", 12)
    return read_clip(film, Sampling(3))


def load(directory: Path, **fields: Any) -> VideoLanguageModel:
    return load_video_language_model(ModelSpec(str(directory), **fields))


def test_the_answer_is_that_of_the_models_own_processor_and_generation(
    llava: Path, clip: Clip
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    loaded = load(llava, frames=3)
    found = loaded.answer(loaded.inputs(clip, QUESTION), 6)
    processor = AutoProcessor.from_pretrained(llava)
    prompt = f"<image> <image> <image> {QUESTION} word1"
    inputs = processor(text=prompt, images=list(clip.frames.numpy()), return_tensors="pt")
    model = AutoModelForImageTextToText.from_pretrained(llava).eval()
    generated = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    new = generated[0, inputs["input_ids"].shape[1] :]
    assert inputs["input_ids"][0, :2].tolist() == [1, 100]  # one start of the text, not two
    assert found.text == processor.tokenizer.decode(new, skip_special_tokens=True)
    assert found.text
    assert found.num_tokens == [26] * 4


def test_both_sides_of_a_comparison(llava: Path, clip: Clip) -> None:
    unmerged = load(llava, frames=3)
    merged = unmerged.with_model(merged_twin(unmerged.model, vidtldr.MergeConfig(r=[12, 4])))
    inputs = unmerged.inputs(clip, QUESTION)
    steps: list[None] = []
    found = compare_answers(
        unmerged,
        merged,
        inputs,
        max_new_tokens=4,
        num_repeats=2,
        on_step=lambda: steps.append(None),
    )
    assert found.unmerged.answer == unmerged.answer(inputs, 4)
    assert found.merged.answer == merged.answer(inputs, 4)
    assert found.merged.num_tokens == [14, 10, 10, 10]
    assert found.merged.flops < found.unmerged.flops
    assert len(steps) == 2 + 2 * 3
    for side in (found.unmerged, found.merged):
        parts = zip(side.timing.times_ms, side.tower.times_ms, side.language.times_ms, strict=True)
        assert len(side.timing.times_ms) == 2
        assert all(0 < tower < whole and rest > 0 for whole, tower, rest in parts)
    assert not unmerged.model.model.vision_tower._forward_hooks


def test_equal_patches_answer_alike(llava: Path, clip: Clip) -> None:
    """Frames of one colour: all patches but their positions are equal, and merge without loss."""
    unmerged = load(llava, frames=3)
    positions = unmerged.model.model.vision_tower.embeddings.position_embedding
    torch.nn.init.zeros_(positions.weight)
    grey = torch.full_like(clip.frames, 128)
    inputs = unmerged.inputs(Clip(**vars(clip) | {"frames": grey}), QUESTION)
    merged = merged_twin(unmerged.model, vidtldr.MergeConfig(r=[12], score=None))
    expected = unmerged.answer(inputs, 8)
    assert unmerged.with_model(merged).answer(inputs, 8).text == expected.text


@pytest.mark.parametrize("token", ["<image>", "<video>", "</s>"])
def test_a_question_cannot_hold_a_picture_or_an_end(llava: Path, clip: Clip, token: str) -> None:
    with pytest.raises(ValueError, match=f"QUESTION must not contain '{token}', a special token"):
        load(llava).inputs(clip, f"word1 {token}")


def test_a_prompt_must_fit_the_context(llava: Path, clip: Clip) -> None:
    loaded = load(llava, frames=3)
    num_prompt = loaded.inputs(clip, QUESTION)["input_ids"].shape[1]
    loaded.model.config.text_config.max_position_embeddings = num_prompt + 2
    found = loaded.answer(loaded.inputs(clip, QUESTION), 64)
    assert len(found.text.split()) <= 2
    loaded.model.config.text_config.max_position_embeddings = num_prompt
    with pytest.raises(ValueError, match=f"context of {num_prompt} tokens, got a"):
        loaded.inputs(clip, QUESTION)


def test_logits_that_are_not_finite_are_an_error(llava: Path, clip: Clip) -> None:
    loaded = load(llava, frames=3)
    torch.nn.init.constant_(loaded.model.lm_head.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="logits must be finite"):
        loaded.answer(loaded.inputs(clip, QUESTION), 4)


def test_generation_settings_of_a_checkpoint_change_no_answer(tmp_path: Path, clip: Clip) -> None:
    tiny_chat.write_llava(tmp_path / "llava")
    loaded = load(tmp_path / "llava", frames=3)
    expected = loaded.answer(loaded.inputs(clip, QUESTION), 6)
    file = tmp_path / "llava" / "generation_config.json"
    settings = json.loads(file.read_text())
    own = {"do_sample": True, "temperature": 2.0, "num_beams": 3, "repetition_penalty": 9.0}
    own |= {"max_time": 1e-6, "suppress_tokens": [31], "no_repeat_ngram_size": 1}
    file.write_text(json.dumps(settings | own))
    assert load(tmp_path / "llava", frames=3).answer(loaded.inputs(clip, QUESTION), 6) == expected


def without_template(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink()


def without_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").unlink()


def without_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def without_tower(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    kept = {name: x for name, x in weights.items() if "vision_tower.encoder.layers.1" not in name}
    assert len(kept) < len(weights)
    save_file(kept, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_template, r"must have a chat template \(chat_template.jinja\), got none"),
        (without_tokenizer, "must have .*processor"),
        (without_config, "must have a config.json"),
        (without_tower, "must have all its weights"),
    ],
)
def test_an_incomplete_directory_says_what_is_missing(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    tiny_chat.write_llava(tmp_path / "llava")
    damage(tmp_path / "llava")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path / "llava")


def test_a_template_that_fails_is_the_models_fault(tmp_path: Path, clip: Clip) -> None:
    tiny_chat.write_llava(tmp_path / "llava", template="{{ raise_exception('no') }}")
    with pytest.raises(ValueError, match=r"processor that takes 3 frames .* TemplateErr"):
        load(tmp_path / "llava").inputs(clip, QUESTION)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    tiny_encoders.vit().save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="or a video language model to answer questions, got 'ViT"):
        load(tmp_path / "vit")


def test_without_torchvision_it_is_named(tmp_path: Path) -> None:
    from transformers.utils import is_torchvision_available

    if is_torchvision_available():
        pytest.skip("torchvision is installed")
    tiny_chat.write_llava(tmp_path / "llava")
    file = tmp_path / "llava" / "processor_config.json"
    processor = json.loads(file.read_text()) | {"processor_class": "LlavaOnevisionProcessor"}
    processor["video_processor"] = {"video_processor_type": "LlavaOnevisionVideoProcessor"}
    file.write_text(json.dumps(processor))
    with pytest.raises(ImportError, match=r"needs torchvision, which is not installed\. Run: pip"):
        load(tmp_path / "llava")


@pytest.mark.timm
@pytest.mark.parametrize(
    ("write", "placeholder"),
    [
        (tiny_chat.write_llava_onevision, "<video>"),
        (tiny_chat.write_qwen3_vl, "<|video_pad|>"),
    ],
)
def test_a_model_of_videos_answers_as_its_own_processor(
    tmp_path: Path, clip: Clip, write: Callable[[Path], Any], placeholder: str
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    pytest.importorskip("torchvision", reason="it is in the environment of `make test-timm`")
    write(tmp_path / "chat")
    loaded = load(tmp_path / "chat", frames=3)
    assert loaded.takes_videos
    found = loaded.answer(loaded.inputs(clip, QUESTION), 6)
    processor = AutoProcessor.from_pretrained(tmp_path / "chat")
    assert clip.duration_seconds is not None
    total = clip.num_frames_in_file
    about = {"total_num_frames": total, "fps": total / clip.duration_seconds}
    inputs = processor(
        text=f"{placeholder} {QUESTION} word1",
        videos=clip.frames.permute(0, 3, 1, 2),
        video_metadata=[about | {"frames_indices": list(clip.indices)}],
        do_sample_frames=False,
        return_tensors="pt",
    )
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "chat").eval()
    generated = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    new = generated[0, inputs["input_ids"].shape[1] :]
    assert found.text == processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    vidtldr.apply_patch(loaded.model, ratio=[0.4])
    merged = loaded.answer(loaded.inputs(clip, QUESTION), 6)
    assert merged.num_tokens[0] < found.num_tokens[0]
    assert len(set(merged.num_tokens)) == 1
