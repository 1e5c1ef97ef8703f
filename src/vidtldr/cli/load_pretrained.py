"""Load the model of `classify` and `embed`: a classifier, or UMT with labels as texts."""

from vidtldr.cli.load_umt_model import load_retrieval
from vidtldr.cli.progress import status
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.typed_dtype import typed_dtype
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.shapes.language import LABELS
from vidtldr.tasks.classify import parse_labels
from vidtldr.tasks.pretrained import Pretrained, load_classifier, resolve_device
from vidtldr.tasks.zero_shot import text_classifier

__all__ = ["load_pretrained"]


def load_pretrained(options: UMTOptions, labels: str | None, preset: str | None) -> Pretrained:
    """Load a model that gives probabilities of labels.

    Args:
        options: As typed.
        labels: File or comma list; for a classifier instead of its own, for UMT all there are. None
            for the model's own: a classifier and the bundled model have some.
        preset: Name of the schedule, to be checked against the model.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError: With what is wrong and what to do.
    """
    given = None if labels is None else parse_labels(labels)
    if options.model is None or options.is_umt:
        own = LABELS if options.is_bundled else ()
        return text_classifier(load_retrieval(options, preset), own if given is None else given)
    device = resolve_device(options.device)
    dtype = typed_dtype(options.dtype, device)
    quiet_transformers()
    with status("loading the model"):
        return load_classifier(options.model, device, dtype, given)
