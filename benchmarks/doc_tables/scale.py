"""The cost of an index of many videos: measured, and extrapolated."""

from doc_tables.results import read, table
from vidtldr.presets import NUM_TOKENS, PRESETS

PRESET = "umt-b16/msrvtt-retrieval"
CHANNELS, TOKEN_CHANNELS = 512, 768  # of a vector, and of a token, of UMT-B
FRAMES, SIDE = 12, 224
OTHER_COLUMNS_BYTES = 250
BYTES_A_FILE = 400  # kept in memory by the writer
CLIP_SECONDS, BITS_A_SECOND = 10, 1e6
GPU_CLIPS_A_SECOND = 100  # assumed
WHOLE, SEEKING = "read_clip", "read_clip, seeks"
HALF_MINUTE, FIVE_MINUTES = "30 s, keyframes 10 s apart", "5 min, keyframes 2 s apart"
SECONDS = {HALF_MINUTE: 30}


def reading() -> str:
    """The time that seeking saves."""
    videos = read("08_reading")["videos"][FIVE_MINUTES]
    return (
        f"Sampling {read('08_reading')['frames']} frames of a 5-minute video of 640 x 360 with a "
        f"keyframe every 2 seconds takes {videos[SEEKING]['median_seconds']:.2f} s with seeking "
        f"and {videos[WHOLE]['median_seconds']:.1f} s without "
        "(`benchmarks/results/08_reading.json`, which has other readers, too)."
    )


def token_sizes() -> str:
    """Bytes of the tokens and pixels of a clip."""
    kept = NUM_TOKENS - sum(PRESETS[PRESET])
    return (
        f"UMT-B unmerged has {NUM_TOKENS} tokens of {TOKEN_CHANNELS} channels, "
        f"{_token_bytes(NUM_TOKENS) / 1e6:.1f} MB per clip; with its MSRVTT preset {kept} tokens, "
        f"{_token_bytes(kept) / 1e6:.1f} MB. Its pixels take "
        f"{FRAMES * 3 * SIDE**2 / 1e6:.1f} MB per clip while the run lasts."
    )


def _token_bytes(num_tokens: int) -> int:
    return num_tokens * TOKEN_CHANNELS * 2


def _decode_core_seconds() -> float:
    """Return the core seconds to decode one hour of video."""
    seconds = read("08_reading")["videos"][HALF_MINUTE][WHOLE]["median_seconds"]
    return float(seconds) * 3600 / SECONDS[HALF_MINUTE]


def measured() -> str:
    """Rates of decoding, encoding and searching."""
    decode = read("08_reading")["videos"][HALF_MINUTE][WHOLE]["median_seconds"]
    umt, bundled = read("06_pipeline_umt_b"), read("06_pipeline_bundled")
    search, tiled = read("07_search"), read("07_search_tiled")
    rates, own = umt["clips_per_second"], bundled["clips_per_second"]
    rows = [
        [
            "decode and resize 12 frames of 30 s of 640 x 360",
            f"{decode:.2f} s, so `d` = {_decode_core_seconds():.0f}",
            "`08_reading.json`",
        ],
        [
            f"UMT-B with its MSRVTT preset, batch {umt['batch_size']}, {umt['dtype']}",
            f"{rates['encode_only']:.2f} clips per second on {umt['device']}; one clip after the "
            f"other in a plain loop {rates['plain_loop']:.2f}",
            "`06_pipeline_umt_b.json`",
        ],
        [
            "the pipeline with it",
            f"{umt['share_of_ceiling']:.0%} of its ceiling",
            "the same",
        ],
        [
            "the bundled model: decoding, encoding, the pipeline",
            f"{own['decode_only']:.0f}, {own['encode_only']:.0f} and {own['pipeline']:.0f} clips "
            f"per second, {bundled['share_of_ceiling']:.0%} of the ceiling",
            "`06_pipeline_bundled.json`",
        ],
        [
            f"exact search in {_millions(search)} rows of {search['num_channels']} channels",
            f"{search['exact_ms']['median']:.0f} ms, after {search['load_seconds']:.0f} s of "
            f"loading; {search['loaded_gb']:.1f} GB of memory",
            "`07_search.json`",
        ],
        [
            "approximate search: build, search, recall of the ten nearest",
            f"{search['ann']['build_seconds']:.0f} s, {search['ann']['median_ms']:.0f} ms, "
            f"{search['ann']['recall_at_10']:.3f}",
            "the same",
        ],
        [
            "size on disk, without and with the approximate index (short paths)",
            f"{search['bytes'] / 1e9:.2f} GB, {search['bytes_with_ann'] / 1e9:.2f} GB",
            "the same",
        ],
        [
            f"embeddings of generated clips, tiled with noise to {_millions(tiled)} rows of "
            f"{tiled['num_channels']} channels: exact, approximate, recall",
            f"{tiled['exact_ms']['median']:.0f} ms, {tiled['ann']['median_ms']:.0f} ms, "
            f"{tiled['ann']['recall_at_10']:.3f}",
            "`07_search_tiled.json`",
        ],
    ]
    versions = search["versions"]
    note = (
        f"Measured on {umt['device']} and {search['num_cpus']} CPUs, torch "
        f"{umt['versions']['torch']}, vidtldr {versions['vidtldr']}. The files are in "
        "`benchmarks/results`. The ceiling is 1 / (1/D + 1/E), with `D` and `E` the rates of "
        "decoding alone and encoding alone."
    )
    return f"{table(['what', 'measured', 'file'], rows)}\n\n{note}"


def _millions(search: dict[str, int]) -> str:
    return f"{search['num_rows'] / 1e6:g} million"


def on_paper() -> str:
    """Estimates for a million and a billion clips, from the formulas on the page."""
    umt = read("06_pipeline_umt_b")
    cores = int(umt["device"].split()[0])
    core_seconds = cores / umt["clips_per_second"]["encode_only"]
    kept = NUM_TOKENS - sum(PRESETS[PRESET])
    d, e = _decode_core_seconds(), 1 / GPU_CLIPS_A_SECOND
    clip_bytes = CLIP_SECONDS * BITS_A_SECOND / 8
    vector = 4 * CHANNELS + OTHER_COLUMNS_BYTES
    cores_a_gpu = d * CLIP_SECONDS / 3600 / e
    gpus = {1e6: 1, 1e9: 64}
    hours = {n: e * n / gpus[n] / 3600 for n in gpus}
    parts = {
        "hours of video": lambda n: _count(n * CLIP_SECONDS / 3600),
        "decode, core-hours": lambda n: _count(d * n * CLIP_SECONDS / 3600 / 3600),
        "encode on CPUs as measured, core-hours": lambda n: _count(core_seconds * n / 3600),
        "encode, GPU-hours": lambda n: _count(e * n / 3600),
        "CPU cores per GPU": lambda _: f"{cores_a_gpu:.0f}",
        "with 1 / 64 GPUs and their cores": lambda n: f"{_count(hours[n])} hours",
        "bytes read": lambda n: _bytes(clip_bytes * n),
        "read rate": lambda n: f"{_bytes(clip_bytes * n / hours[n] / 3600)}/s",
        "index, vectors and columns": lambda n: _bytes(vector * n),
        "with an approximate index": lambda n: _bytes((vector + CHANNELS) * n),
        "tokens, if kept": lambda n: _bytes(_token_bytes(kept) * n),
    }
    rows = [[name, *(of(n) for n in gpus)] for name, of in parts.items()]
    rate = clip_bytes * GPU_CLIPS_A_SECOND
    writer = vector * GPU_CLIPS_A_SECOND * gpus[1e9]
    assumptions = (
        f"Clips of {CLIP_SECONDS} s, 640 x 360 H.264 at {BITS_A_SECOND / 1e6:g} Mbit/s "
        f"({_bytes(BITS_A_SECOND / 8 * 3600)} per hour), UMT-B with its MSRVTT preset, decoding "
        f"as measured. A GPU that encodes {GPU_CLIPS_A_SECOND} clips per second (`e` = {e:g}) is "
        "an **assumption**: no GPU was measured. Put in your own figure."
    )
    bottleneck = (
        f"**The first bottleneck.** One machine with one GPU: decoding, if it has fewer than "
        f"{cores_a_gpu:.0f} cores, or if the videos are larger (1080p has "
        f"{1920 * 1080 / (640 * 360):.0f} times the pixels of 360p). Many machines: reading, "
        f"{_bytes(rate)}/s for each GPU, long before the one writer, which gets {_bytes(vector)} "
        f"per clip, so {_bytes(writer)}/s from {gpus[1e9]} GPUs."
    )
    head = ["", "1 million clips", "1 billion clips"]
    return "\n\n".join([assumptions, table(head, rows), bottleneck])


def writer_memory() -> str:
    """Why one index should not hold everything."""
    return (
        f"The writer keeps about {BYTES_A_FILE} bytes in memory for each file, "
        f"{_bytes(BYTES_A_FILE * 1e9)} for a billion, and one process searches one index."
    )


def _count(value: float) -> str:
    """Format a count to two digits, with a word for millions."""
    if value >= 1e6:
        return f"{_rounded(value / 1e6)} million"
    return _rounded(value)


def _rounded(value: float) -> str:
    digits = float(f"{value:.2g}")
    return f"{digits:,.0f}" if digits >= 10 else f"{digits:.1f}"


def _bytes(value: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    step = 0
    while value >= 1000:
        value, step = value / 1000, step + 1
    return f"{value:.3g} {units[step]}"
