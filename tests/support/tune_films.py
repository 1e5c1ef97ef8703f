"""Small real videos that differ, and where the times of layers go."""

from pathlib import Path

from support.film import write_film
from support.tiny_files import write_video
from support.tiny_models import videomae

from vidtldr.tasks.pretrained import Pretrained
from vidtldr.video.transform import VideoTransform


def write_films(directory: Path, num_videos: int) -> list[str]:
    """Films of moving numbers, and one of a square over noise."""
    paths = [str(write_video(directory / "square.mp4"))]
    for number in range(num_videos - 1):
        path = directory / f"film{number}.mp4"
        write_film(path, 12, first_number=31 * number + 4)
        paths.append(str(path))
    return paths


def pretrained_videomae(**sizes: int) -> Pretrained:
    """48 tokens, 4 layers; merging is far from free of consequences in it."""
    transform = VideoTransform(resize=(32, 32), mean=0.5, std=0.25)
    return Pretrained(videomae(**sizes), transform, tuple("abcdefg"), 6)
