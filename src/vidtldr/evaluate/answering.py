"""Evaluate question answering.

Letters: `Q` questions of one video, `N` tokens, `C` channels.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import Question, group_by_video, read_answers, read_questions
from vidtldr.evaluate.metrics import accuracy
from vidtldr.evaluate.protocols import ANSWERING, AnsweringProtocol
from vidtldr.evaluate.run_record import RunRecord, record_run
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.tokenizer import TextTokens
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.ask import answer_tokens, rank
from vidtldr.tasks.text_cleaning import clean_text
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["AnsweringResult", "Prediction", "evaluate_answering", "predict_answers"]

NUM_QUESTIONS_AT_ONCE = 16


@dataclass(frozen=True)
class Prediction:
    """One question answered.

    Attributes:
        question_id: As in the annotations.
        prediction: The likeliest answer; None if the video could not be decoded.
        probability: Its probability among the candidates ranked; None without a prediction.
        is_right: Whether it equals the right answer exactly.
    """

    question_id: int | str
    prediction: str | None
    probability: float | None
    is_right: bool


@dataclass(frozen=True)
class AnsweringResult:
    """Question answering on one set.

    Attributes:
        accuracy: Percent of questions answered correctly, not rounded; a question about a video
            that cannot be decoded counts as wrong.
        num_questions: Number of questions.
        num_unanswerable: Questions whose right answer is not in the list; always wrong.
        num_answers: Number of candidate answers.
        predictions: One per question, in the order of the annotations.
        run: Record of the run.
    """

    accuracy: float
    num_questions: int
    num_unanswerable: int
    num_answers: int
    predictions: tuple[Prediction, ...]
    run: RunRecord

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def evaluate_answering(
    model: UMTAnswering,
    annotations: str | os.PathLike[str],
    answers: str | os.PathLike[str],
    videos: str | os.PathLike[str],
    *,
    protocol: AnsweringProtocol = ANSWERING,
    merge: MergeConfig | None = None,
    settings: Settings | None = None,
    on_step: OnStep = ignore_steps,
) -> AnsweringResult:
    """Evaluate a model on questions with a fixed list of answers, by the paper's protocol.

    Args:
        model: The model, on its device.
        annotations: JSON file, see `read_questions`.
        answers: JSON file, see `read_answers`.
        videos: Directory of the videos.
        protocol: Lengths and number of candidates.
        merge: What to merge; None evaluates the unmerged model.
        settings: How to run; None uses the defaults.
        on_step: Called after each question ("questions").

    Raises:
        ValueError: If an annotation is invalid (names file and line) or the schedule does not fit.
        OSError: If a file cannot be read or no video exists.
    """
    settings = settings or Settings()
    questions, candidates = read_questions(annotations), read_answers(answers)
    by_video = group_by_video(questions)
    paths = VideoFolder(videos).find_all(by_video)
    encoding = settings.encoding(model, merge)
    candidate_tokens = answer_tokens(model, candidates, protocol.max_answer_tokens)
    step = steps_of(on_step, "questions", len(questions))
    found: dict[int, Prediction] = {}
    rows = []
    encoded = encoding.encode_all(
        paths, batch_size=settings.batch_size, num_readers=settings.num_readers
    )
    for row, indices in zip(encoded, by_video.values(), strict=True):
        asked = [questions[index] for index in indices]
        best = predict_answers(encoding, row.tokens, asked, candidate_tokens, protocol)
        for index, prediction in zip(indices, best, strict=True):
            found[index] = _judge(questions[index], candidates, prediction)
            step()
        rows.append(replace(row, tokens=None, pooled=None))
    files = {"annotations": annotations, "answers": answers}
    run = record_run(encoding, settings, protocol, rows, files)
    return _result(questions, candidates, found, run)


def predict_answers(
    encoding: VideoEncoding,
    video: VideoTokens | None,
    questions: Sequence[Question],
    candidates: TextTokens,
    protocol: AnsweringProtocol,
) -> list[tuple[int, float] | None]:
    """Answer questions about one video.

    Args:
        encoding: Encoding with a `UMTAnswering` on its device.
        video: Tokens of the video (N, C) and their mass; None if decoding failed.
        questions: The questions.
        candidates: Tokenized answers.
        protocol: Lengths and number of candidates.

    Returns:
        Index and probability of the likeliest candidate of each question; None if decoding the
        video failed.
    """
    if video is None:
        return [None] * len(questions)
    found: list[tuple[int, float] | None] = []
    for start in range(0, len(questions), NUM_QUESTIONS_AT_ONCE):
        texts = [clean_text(q.question) for q in questions[start : start + NUM_QUESTIONS_AT_ONCE]]
        tokens = encoding.model.tokenizer(texts, protocol.max_question_tokens)
        ranked = rank(encoding, video, tokens, candidates, protocol.k_test)
        best = zip(ranked.ids[:, 0].tolist(), ranked.probabilities[:, 0].tolist(), strict=True)
        found += best
    return found


def _judge(
    question: Question, candidates: Sequence[str], found: tuple[int, float] | None
) -> Prediction:
    if found is None:
        return Prediction(question.id, None, None, False)
    answer = candidates[found[0]]
    return Prediction(question.id, answer, found[1], answer == question.answer)


def _result(
    questions: Sequence[Question],
    candidates: Sequence[str],
    found: Mapping[int, Prediction],
    run: RunRecord,
) -> AnsweringResult:
    known = set(candidates)
    predictions = tuple(found[index] for index in range(len(questions)))
    return AnsweringResult(
        accuracy([prediction.is_right for prediction in predictions]),
        len(questions),
        sum(question.answer not in known for question in questions),
        len(candidates),
        predictions,
        run,
    )
