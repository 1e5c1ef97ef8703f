"""Answer a question about a video from a list of answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidtldr.models.umt.answering import RankedAnswers, UMTAnswering
from vidtldr.models.umt.tokenizer import TextTokens
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.text_features import prompt_tokens
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["Answer", "AnsweredVideo", "answer_tokens", "answering_model", "ask_video", "rank"]

END_OF_ANSWER = "[SEP]"


@dataclass(frozen=True)
class Answer:
    """One candidate.

    Attributes:
        answer: Its text.
        probability: Softmax over the ranked candidates, in [0, 1].
    """

    answer: str
    probability: float


@dataclass(frozen=True)
class AnsweredVideo:
    """Ranked answers to a question about one video.

    Attributes:
        path: The file, as given.
        answers: Candidates, likeliest first; empty if the video failed.
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file.
        error: Why the video failed; None if it did not.
    """

    path: str
    answers: tuple[Answer, ...]
    seconds: float | None
    notes: tuple[str, ...]
    error: str | None


def ask_video(
    encoding: VideoEncoding,
    path: str,
    question: str,
    answers: Sequence[str],
    *,
    k: int = 128,
    top: int | None = None,
    max_answer_tokens: int = 5,
) -> AnsweredVideo:
    """Rank candidate answers to a question about a video.

    The k candidates with the likeliest first token are ranked by their likelihood; with fewer than
    k, all are.

    Args:
        encoding: A `UMTAnswering` with its merging and reading.
        path: A local file.
        question: As typed; cleaned as in training.
        answers: Candidates, used as they are.
        k: Candidates to rank, at least 1.
        top: Answers to return; None returns all that were ranked.
        max_answer_tokens: Longer answers are truncated to this, as in the paper's protocol.

    Returns:
        The answers, or why the video failed.

    Raises:
        ValueError: If a text is empty, the question is too long, or `k` or `top` is below 1.
        TypeError: If the model is not a `UMTAnswering`.
    """
    for name, value in (("k", k), ("top", 1 if top is None else top)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}. Ask for one or more.")
    model = answering_model(encoding)
    asked = prompt_tokens(model.tokenizer, [question], "question")
    candidates = answer_tokens(model, answers, max_answer_tokens)
    row = encoding.encode(path)
    if row.tokens is None:
        return AnsweredVideo(path, (), row.seconds, row.notes, row.error)
    ranked = rank(encoding, row.tokens, asked, candidates, k)
    best = zip(ranked.ids[0].tolist(), ranked.probabilities[0].tolist(), strict=True)
    found = [Answer(answers[index], probability) for index, probability in best]
    return AnsweredVideo(path, tuple(found[:top]), row.seconds, row.notes, None)


def answering_model(encoding: VideoEncoding) -> UMTAnswering:
    """Return the model, checked to be one that answers questions.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(encoding.model, UMTAnswering):
        raise TypeError(
            f"model must be a UMTAnswering, got {type(encoding.model).__name__}. Load the "
            "checkpoint with task='answering'."
        )
    return encoding.model


def answer_tokens(model: UMTAnswering, answers: Sequence[str], max_tokens: int) -> TextTokens:
    """Tokenize candidates as the authors do: uncleaned, with " [SEP]" appended, truncated.

    Raises:
        ValueError: If there are none, or one is blank.
    """
    if not answers or not all(answer.strip() for answer in answers):
        raise ValueError(
            f"answers must be texts that are not empty, got {len(answers)} of "
            f"them{', one without text' if answers else ''}. Correct the list."
        )
    return model.tokenizer([f"{answer} {END_OF_ANSWER}" for answer in answers], max_tokens)


def rank(
    encoding: VideoEncoding,
    video: VideoTokens,
    questions: TextTokens,
    answers: TextTokens,
    k: int,
) -> RankedAnswers:
    """Rank candidates for questions about one video.

    Args:
        encoding: A `UMTAnswering` on its device.
        video: Tokens of the video (N, C) and their mass, on any device.
        questions: Token ids and mask, shape (Q, L).
        answers: Token ids and mask, shape (A, L').
        k: Candidates to rank; with fewer than k, all are.

    Returns:
        Indices and probabilities, shape (Q, min(k, A)), on the CPU.
    """
    model, device = answering_model(encoding), encoding.device
    dtype = next(model.parameters()).dtype
    with encoding.computing():
        video = VideoTokens.stack([video.to(device, dtype)])
        ids, mask = (part.to(device) for part in questions)
        states = model.encode_questions(video.x, ids, mask, video.mass)
        answer_ids, answer_mask = (part.to(device) for part in answers)
        ranked = model.rank_encoded(states, mask, answer_ids, answer_mask, min(k, len(answer_ids)))
    return RankedAnswers(*(part.cpu() for part in ranked))
