import pytest
import torch

from vidtldr.measure.not_measured import NotMeasured


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling it"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_lack_of_memory_is_known_by_what_allocators_say(error: Exception) -> None:
    failed = NotMeasured()
    with failed.caught("batch 1"):
        raise error
    assert "batch 1" in failed.errors
    with pytest.raises(type(error)), NotMeasured(debug=True).caught("batch 1"):
        raise error


def test_torchs_own_error_on_a_cpu_says_what_ran_and_how_much_it_wanted() -> None:
    failed = NotMeasured()
    with failed.caught("batch 2"):
        try:
            torch.empty(2**50)
        except RuntimeError as error:
            error.add_note("materialised")
            raise
    assert failed.errors["batch 2"].startswith(
        "the device has too little memory for it (materialised; can't allocate memory: you tried to"
    )
    assert failed.to_list() == [{"what": "batch 2", "error": failed.errors["batch 2"]}]


def test_a_mistake_of_ours_is_let_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), NotMeasured().caught("batch 1"):
        raise RuntimeError("shapes do not fit")


def test_only_a_result_without_anything_is_refused() -> None:
    failed = NotMeasured()
    failed.validate_any([])  # nothing was asked for
    with failed.caught("batch 1"):
        raise FloatingPointError("outputs must be finite. Use float32.")
    failed.validate_any(["a row"])
    with pytest.raises(ValueError, match=r"^batch 1: outputs must be finite"):
        failed.validate_any([])
