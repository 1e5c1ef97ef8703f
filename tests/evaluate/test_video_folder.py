import pytest

from vidtldr.evaluate.video_folder import VideoFolder


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.webm", "b.json", "c.mp4.part", "two.avi", "two.mkv", "40.807.AVI"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.mov").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.mp4", "a.mp4"),
        ("a", "a.mp4"),
        ("b", "b.webm"),
        ("sub/d", "sub/d.mov"),
        ("40.807", "40.807.AVI"),
        ("a.avi", "a.avi"),  # another file is never taken for it
        ("c.mp4", "c.mp4"),
        ("none/x", "none/x"),
    ],
)
def test_a_name_may_lack_its_extension(folder, name, found):
    assert VideoFolder(folder).find(name) == str(folder / found)


def test_a_name_for_two_files_is_refused(folder):
    with pytest.raises(ValueError, match=r"'two' must name one file .* got two\.avi, two\.mkv"):
        VideoFolder(folder).find("two")


def test_some_may_be_missing_but_not_all(folder):
    paths = VideoFolder(folder).find_all(["a", "x"])
    assert paths == [str(folder / "a.mp4"), str(folder / "x")]
    with pytest.raises(FileNotFoundError, match=r"without any of 4 \(x, y, z, \.\.\.\)"):
        VideoFolder(folder).find_all(["x", "y", "z", "w"])


def test_a_folder_must_be_there(folder):
    with pytest.raises(NotADirectoryError, match="`videos` must be a directory, got"):
        VideoFolder(folder / "a.mp4")
