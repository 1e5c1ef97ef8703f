import subprocess
import sys

import vidtldr


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_the_root_exports_these_names_and_no_others() -> None:
    assert sorted(vidtldr.__all__) == [
        "MergeConfig",
        "__version__",
        "apply_patch",
        "patched",
        "remove_patch",
        "trace",
        "unmerge_tokens",
    ]
    assert all(hasattr(vidtldr, name) for name in vidtldr.__all__)
    assert dir(vidtldr) == sorted(vidtldr.__all__)


def test_importing_the_root_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "triton", "av", "PIL", "matplotlib", "numpy", "typer", "rich"]
    code = f"import sys, vidtldr; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_patching_loads_neither_video_nor_transformers_nor_triton() -> None:
    heavy = ["transformers", "av", "PIL", "matplotlib", "timm", "torchvision", "triton"]
    code = (
        f"import sys, vidtldr; vidtldr.apply_patch; print([m for m in {heavy} if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_importing_changes_no_global_switch() -> None:
    code = (
        "import torch; state = lambda: (torch.get_default_dtype(), torch.is_grad_enabled(), "
        "torch.get_num_threads(), torch.backends.cuda.flash_sdp_enabled(), torch.initial_seed()); "
        "before = state(); "
        "import vidtldr; vidtldr.apply_patch; print(before == state(), torch.cuda.is_initialized())"
    )
    assert run_python(code).strip() == "True False"
