import threading
import time

import pytest
import torch
from support.umt_sets import CONFIG
from torch.nn import functional as F

from vidtldr.tasks.clip_reader import read_ahead, umt_reader
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling


def test_umt_reads_as_the_protocol_says(films):
    path = films.paths[0]
    pixels = umt_reader(CONFIG)(path)
    frames = read_clip(path, Sampling(4)).frames.permute(0, 3, 1, 2).float()
    resized = F.interpolate(frames, (32, 32), mode="bicubic", align_corners=False, antialias=False)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = (resized.clamp(0, 255).round() / 255 - mean) / std
    torch.testing.assert_close(pixels.values, expected, rtol=0, atol=1e-5)
    assert pixels.seconds == pytest.approx(12 / 25)


def test_only_the_first_seconds_are_used(films):
    pixels = umt_reader(CONFIG, max_seconds=0.2)(films.paths[0])
    assert pixels.seconds == pytest.approx(0.2)


def test_a_broken_file_is_an_error(films):
    with pytest.raises(VideoError):
        umt_reader(CONFIG)(str(films.directory / films.broken))


def test_results_come_in_order_and_only_a_little_ahead():
    started, lock = [], threading.Lock()

    def work(number):
        with lock:
            started.append(number)
        time.sleep(0.02 if number % 2 else 0)
        return number * 10

    results = read_ahead(work, range(100), 3)
    assert [next(results) for _ in range(4)] == [0, 10, 20, 30]
    assert max(started) <= 4 + 3
    results.close()


def test_an_error_comes_when_its_turn_is_there():
    def work(number):
        if number == 2:
            raise KeyError(number)
        return number

    results = read_ahead(work, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)
