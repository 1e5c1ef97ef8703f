"""What of an evaluation's result goes into its table, as names and cells."""

from vidtldr.evaluate.answering import AnsweringResult
from vidtldr.evaluate.metrics import Recall, RetrievalMetrics
from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
from vidtldr.evaluate.retrieval import RetrievalResult
from vidtldr.evaluate.run_record import RunRecord

__all__ = ["MAIN_FIGURE", "Result", "cost_rows", "main_figure", "result_rows", "title"]

Result = RetrievalResult | AnsweringResult | MultipleChoiceResult
Row = tuple[str, str]
BUDGETS = ("flop_ratio", "num_tokens", "speedup")

#: The paper's number of each kind of evaluation.
MAIN_FIGURE: dict[type, str] = {
    RetrievalResult: "mean R@1",
    AnsweringResult: "accuracy",
    MultipleChoiceResult: "accuracy",
}


def main_figure(result: Result) -> float:
    """The paper's number, percent."""
    if isinstance(result, RetrievalResult):
        return (result.reranked or result.dual).mean_r1
    return result.accuracy


def title(result: Result) -> str:
    """Say in a line what was evaluated, and how it was merged."""
    run = result.run
    parts = [f"{run.num_videos} videos"]
    if isinstance(result, RetrievalResult):
        again = f"best {run.protocol['k_test']} scored again by fusion"
        parts += [f"{result.num_texts} texts", again if result.reranked else "cosines alone"]
    else:
        parts.append(f"{result.num_questions} questions")
    return f"{run.protocol['name']}: {', '.join(parts)}; {_schedule(run)}"


def result_rows(result: Result) -> list[Row]:
    """The numbers of the set itself."""
    if isinstance(result, RetrievalResult):
        rows = _retrieval_rows(result.reranked or result.dual)
        if result.reranked is not None:
            rows.append(("mean R@1 by cosines alone", f"{result.dual.mean_r1:.1f}"))
        return rows
    rows = [("accuracy", f"{result.accuracy:.1f}")]
    if isinstance(result, AnsweringResult):
        rows += [
            ("answers to choose from", str(result.num_answers)),
            ("questions whose answer is not there", str(result.num_unanswerable)),
        ]
    return rows


def cost_rows(run: RunRecord) -> list[Row]:
    """What it cost."""
    rate = "all cached" if run.clips_per_second is None else f"{run.clips_per_second:.2f}"
    return [
        ("GFLOPs a clip", _three_digits(run.gflops_per_clip)),
        ("clips a second", rate),
        ("clips from the cache", str(run.num_from_cache)),
    ]


def _retrieval_rows(found: RetrievalMetrics) -> list[Row]:
    means = zip((1, 5, 10), (found.mean_r1, found.mean_r5, found.mean_r10), strict=True)
    return [
        *((f"mean R@{k}", f"{value:.1f}") for k, value in means),
        *_direction_rows("text to video", found.text_to_video),
        *_direction_rows("video to text", found.video_to_text),
    ]


def _direction_rows(name: str, found: Recall) -> list[Row]:
    recalls = zip((1, 5, 10), (found.r1, found.r5, found.r10), strict=True)
    median = "none" if found.median_rank is None else f"{found.median_rank:g}"
    return [
        *((f"{name} R@{k}", f"{value:.1f}") for k, value in recalls),
        (f"{name} median rank", median),
    ]


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _schedule(run: RunRecord) -> str:
    if run.schedule is None:
        return "unmerged"
    name = f" ({run.schedule_name})" if run.schedule_name else ""
    if "ratio" in run.schedule:
        return f"merged by ratio {','.join(map(str, run.schedule['ratio']))}{name}"
    budgets = [f" to {word} {run.schedule[word]}" for word in BUDGETS if word in run.schedule]
    return f"merged{''.join(budgets)} by r {','.join(map(str, run.r or ()))}{name}"
