"""`vidtldr convert` and `vidtldr export`: write a model in another form."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.merge_options import UNMERGED_NOTE, MergeOptions, saved_note
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import (
    Output,
    Reads,
    Writes,
    validate_new_directory,
    validate_outputs,
)
from vidtldr.cli.run_options import MAX_FRAMES, MAX_ROUNDS, checked, spread_options
from vidtldr.cli.terminal import phases, plain_table, print_gain, printable, token_runs
from vidtldr.files import is_stream
from vidtldr.tasks.exported.formats import FORMATS, Format, files_of_record, record_of
from vidtldr.tasks.model_spec import UMT_PREFIX, canonical_dtype

if TYPE_CHECKING:
    from vidtldr.export.export import Export

__all__ = ["convert", "export"]


@spread_options
def convert(
    checkpoint: Annotated[
        str,
        Reads(),
        typer.Argument(
            help="A published UMT checkpoint, .pth or .safetensors.", show_default=False
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="New directory to write.", show_default=False)],
    task: Annotated[
        Literal["retrieval", "answering"], typer.Option(help="What the weights are for.")
    ] = "retrieval",
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes: b16 (the default), l16 or a JSON file."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="DIR", help="Tokenizer to store; default: BERT's, cached."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_FRAMES,
            help="Frames it was trained with: 12 if fine-tuned (default), else 4.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Convert a UMT checkpoint to a directory that --model umt:DIRECTORY loads by itself.

    It holds model.safetensors, config.json and the tokenizer, and is complete once
    model.safetensors exists. Pickled code in a checkpoint is never run.

    Example: vidtldr convert msrvtt.pth msrvtt

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(directory)!r} is incomplete: remove it"):
        name = checkpoint.removeprefix(UMT_PREFIX)
        if not Path(name).expanduser().exists():
            raise FileNotFoundError(
                f"CHECKPOINT must be an existing file, got {checkpoint!r}. Check the path."
            )
        validate_new_directory(directory)
        _validate_text(directory)
        from vidtldr.cli.load_model import notes_on_stderr
        from vidtldr.cli.terminal import status
        from vidtldr.models.umt.checkpoint import convert_checkpoint
        from vidtldr.tasks.load import umt_source

        options = ModelOptions(UMT_PREFIX + name, arch=arch, tokenizer=tokenizer, frames=frames)
        weights, config, vocabulary = umt_source(options)
        with status("converting"), notes_on_stderr():
            convert_checkpoint(weights, directory, task=task, config=config, tokenizer=vocabulary)
        named = printable(shlex.quote(f"{UMT_PREFIX}{directory}"))
        typer.echo(f"wrote {printable(str(directory))}: use it as --model {named}")


def _validate_text(directory: Path) -> None:
    try:
        os.path.abspath(directory).encode()
    except UnicodeEncodeError as error:  # the tokenizer's library opens no other
        raise ValueError(
            f"DIRECTORY must have a path that is UTF-8, got {str(directory)!r}. Rename it."
        ) from error


@spread_options
def export(
    model: Annotated[
        str | None,
        Reads(),
        typer.Argument(
            help="A directory or hub id of transformers, or umt:CHECKPOINT; the bundled shapes "
            "model if left out.",
            show_default=False,
        ),
    ] = None,
    *,
    format_name: Annotated[
        Literal["onnx", "openvino", "aoti", "pt2"],
        typer.Option(
            "--format",
            help="For ONNX Runtime (.onnx), OpenVINO (.xml), or torch: compiled ahead of time "
            "(aoti) or as a graph (pt2), both .pt2, which can run any code.",
        ),
    ],
    output: Annotated[
        Path,
        Writes(),
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write; FILE.json beside it says what it is.",
            show_default=False,
        ),
    ],
    merging: MergeOptions,
    dtype: Annotated[
        str,
        typer.Option(
            parser=checked(canonical_dtype),
            metavar="DTYPE",
            help="What it computes in: float32 or bfloat16; ONNX Runtime only in float32.",
        ),
    ] = "float32",
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes of a umt: checkpoint: b16 (the default), l16 or a JSON file."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="DIR", help="Tokenizer of a umt: checkpoint; default: BERT's, cached"),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_FRAMES, help="Frames of a umt: model or an image model."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=MAX_ROUNDS, help="Timed runs of each model.")
    ] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as JSON and nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Export a model for another engine, merged or not, for batches of any size.

    The unmerged and the merged model are exported and compared with torch, then timed in turn. An
    engine that computes something else is refused. The CPU runs all of it. classify, embed, index
    and search take the file as --model.

    Example: vidtldr export MCG-NJU/videomae-base-finetuned-kinetics --flop-ratio 0.6 --format
    openvino -o videomae.xml

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(output)!r} is not written"):
        spec = ModelOptions(model, arch=arch, tokenizer=tokenizer, frames=frames)
        if spec.is_exported:
            raise ValueError(
                f"MODEL must be a model, got the exported file {model!r}. Name the model it was "
                "exported from."
            )
        merge = merging.parse(spec)
        of = FORMATS[format_name]
        if is_stream(output) or output.suffix != of.ending:
            raise ValueError(
                f"--output must be a file that ends in {of.ending} for --format {format_name}, got "
                f"{str(output)!r}. Name another."
            )
        if dtype not in of.dtypes:
            raise ValueError(
                f"--dtype must be {' or '.join(of.dtypes)} for --format {format_name}, got "
                f"{dtype!r}. Leave it out."
            )
        _validate_places(of, output)
        spec.validate()
        from vidtldr.cli.load_model import BUNDLED_NOTE, notes_on_stderr
        from vidtldr.export.export import export_model
        from vidtldr.tasks.quiet import quiet_transformers

        quiet_transformers()
        if spec.is_bundled:
            typer.echo(BUNDLED_NOTE, err=True)
        with notes_on_stderr(), phases() as on_step:
            exported = export_model(
                spec.plain(),
                merge,
                output,
                format_name=format_name,
                dtype=dtype,
                num_repeats=rounds,
                on_step=on_step,
            )
        if merge is None and exported.record.num_tokens:  # of a family that can merge
            typer.echo(saved_note(spec) or UNMERGED_NOTE, err=True)
        if as_json:
            typer.echo(json.dumps(exported.record.to_dict()))
        else:
            _print_export(exported, output.resolve())


def _validate_places(of: Format, output: Path) -> None:
    """Check that at most an earlier export is overwritten.

    Raises:
        ValueError: If something else would be, or as `validate_outputs`.
    """
    files = of.files(output)
    validate_outputs([Output(each) for each in (*files, record_of(output))])
    known = files_of_record(output)
    for each in files[1:]:
        if each.exists() and each.name not in known:
            raise ValueError(
                f"--output must overwrite nothing but an export, got {str(output)!r}, which writes "
                f"{str(each)!r}, too, a file that is there. Name another."
            )


def _print_export(exported: "Export", output: Path) -> None:
    console = Console(highlight=False)
    record = exported.record
    table = plain_table("", exported.engine)
    flops = [f"{each / 1e9:.1f}" for each in exported.flops.values()]
    table.add_row("GFLOPs (1 MAC = 2 FLOPs)", *flops)
    in_torch = f"torch, {exported.torch_dtype}"
    in_engine = f"{FORMATS[record.format].engine}, {record.dtype}"
    for name, timings in ((in_torch, exported.in_torch), (in_engine, exported.engine)):
        table.add_row(f"{name}, median", *(f"{each.median_ms:.0f} ms" for each in timings.values()))
        spread = ("{:.0f} to {:.0f} ms".format(*each.spread_ms) for each in timings.values())
        table.add_row("  fastest to slowest", *spread)
    differences = (f"{each:.1e}" for each in exported.differences.values())
    table.add_row("difference from torch, relative", *differences)
    console.print(table)
    if record.num_tokens:
        console.print(Text(f"tokens after each layer: {token_runs(record.num_tokens)}"))
    rest = f"{exported.over_torch['median']:.2f}x over the unmerged model in torch"
    if exported.gain is None:
        console.print(Text(rest))
    else:
        print_gain(console, exported.gain, rest)
    size = sum(output.with_name(name).stat().st_size for name in record.files)
    named = ", ".join([*record.files, record_of(output).name])
    console.print(Text(f"wrote {printable(named)}: {size / 1e6:.1f} MB"), soft_wrap=True)
