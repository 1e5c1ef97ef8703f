import base64
import hashlib
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from visualize.read_page import HOSTILE, Page
from visualize.scenes import Scene, data_of, frames_of, large_umt_scene

from vidtldr.video.transform import Region
from vidtldr.visualize.report import render_report, write_report
from vidtldr.visualize.report_facts import Answer
from vidtldr.visualize.tiles import make_tiles


def test_a_page_holds_everything_and_names_nothing_outside(scene: Scene) -> None:
    html = render_report(scene.report())
    page = Page(html)
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                assert value is not None
                assert value.startswith(("data:", "#"))
    urls = re.findall(r"https?://\S+|//[a-z]+\.\S+", html)
    assert urls == []
    assert "url(" not in html.replace("url(#heat)", "")
    assert "@import" not in html


def test_the_policy_allows_the_page_s_own_script_and_style_alone(scene: Scene) -> None:
    html = render_report(scene.report())
    [policy] = [m["content"] for m in Page(html).all("meta") if "http-equiv" in m]
    for kind in ("script", "style"):
        [content] = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_hostile_names_labels_and_notes_are_text(scene: Scene) -> None:
    hostile = [Answer(HOSTILE, HOSTILE)]
    plain, report = scene.report(), scene.report(video=HOSTILE, asked=HOSTILE, notes=[HOSTILE])
    sides = {
        name: replace(getattr(report, name), answers=hostile, name=HOSTILE, about=HOSTILE)
        for name in ("unmerged", "merged", "rival")
    }
    html = render_report(replace(report, facts=[(HOSTILE, HOSTILE)], **sides))
    expected = [name for name, _ in Page(render_report(plain)).elements]
    found = [name for name, _ in Page(html).elements]
    for tag in ("script", "img", "iframe", "style", "link"):
        assert found.count(tag) == expected.count(tag), tag
    assert HOSTILE in Page(html).text["title"][0]
    assert HOSTILE in Page(html).text["bdi"]
    assert data_of(html)["methods"][0]["name"] == HOSTILE


def test_a_name_that_is_no_unicode_is_spelled_out(scene: Scene, tmp_path) -> None:
    path = tmp_path / "page.html"
    size = write_report(path, scene.report(video="caf\udce9.mp4"))
    assert size == path.stat().st_size
    assert r"caf\udce9.mp4" in path.read_text(encoding="utf-8")


def test_sixteen_frames_of_224_stay_under_five_megabytes() -> None:
    scene = large_umt_scene()
    noise = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)
    frames = frames_of(16, 224, 224) // 2 + scene.frames.new_tensor(noise) // 4
    tiles = make_tiles(frames, Region(0, 0, 224, 224), 288)
    html = render_report(scene.report(tiles=tiles, times_seconds=[None] * 16))
    assert len(html.encode()) < 5e6


def test_the_data_says_what_was_merged(scene: Scene) -> None:
    data = data_of(render_report(scene.report()))
    assert data["grid"] == {"frames": 3, "rows": 4, "columns": 4, "framesPerToken": 2}
    assert len(data["pictures"]) == len(data["seconds"]) == 6
    for method, name in zip(data["methods"], ("vid-TLDR", "ToMe"), strict=True):
        for raw, layer in zip(method["layers"], scene.seen[name].layers, strict=True):
            group = np.frombuffer(base64.b64decode(raw["group"]), "<u4")
            weight = np.frombuffer(base64.b64decode(raw["weight"]), "<u2")
            assert (group == layer.group.ravel()).all()
            assert ((weight == 0) == layer.is_dropped.ravel()).all()
            assert abs(weight / 65535 - layer.weight.ravel()).max() < 1e-4
            assert raw["tokens"] == layer.num_tokens
            assert (raw["saliency"] is None) == (name == "ToMe")


def test_the_verdict_says_whether_the_answer_stays(scene: Scene) -> None:
    report = scene.report()
    html = render_report(report)
    assert "The first answer stays. 48 tokens became 24 (50%)" in html
    assert "3.0 ms instead of 3.0 ms (1.00x)" in html
    other = replace(report.merged, answers=[Answer("rain", "9%")])
    assert "The first answer changes." in render_report(replace(report, merged=other))
    silent = replace(report.merged, answers=[])
    assert "first answer" not in render_report(replace(report, merged=silent))


def test_what_is_not_known_is_left_out(scene: Scene) -> None:
    report = scene.report(rival=None, times_seconds=[None] * 6)
    sides = {n: replace(getattr(report, n), flops_per_layer=None) for n in ("unmerged", "merged")}
    html = render_report(replace(report, **sides))
    assert "Cost of each layer" not in html
    assert "beside ToMe" not in html
    Page(html)


def test_a_method_without_a_score_has_no_saliency_to_choose(scene: Scene) -> None:
    html = render_report(scene.report(merged=scene.side("ToMe", "ToMe"), rival=None))
    views = {canvas["data-view"] for canvas in Page(html).all("canvas")}
    assert views == {"picture", "groups", "unmergedFeatures", "mergedFeatures"}
    values = [i["value"] for i in Page(html).all("input") if i.get("name") == "view"]
    assert values == ["groups", "picture"]


def test_the_page_has_landmarks_one_heading_and_names_for_its_controls(scene: Scene) -> None:
    page = Page(render_report(scene.report()))
    for tag in ("header", "main", "footer", "h1"):
        assert len(page.all(tag)) == 1, tag
    assert page.all("html")[0]["lang"] == "en"
    identities = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    for section in page.all("section"):
        assert section["aria-labelledby"] in identities
    labelled = {label.get("for") for label in page.all("label")}
    for field in page.all("input"):
        assert field["type"] == "radio" or field["id"] in labelled
    for canvas in page.all("canvas"):
        assert canvas["role"] == "img"
    for picture in page.all("svg"):
        assert picture.get("aria-hidden") == "true" or picture["aria-labelledby"] in identities


def test_equal_reports_are_equal_to_the_byte(scene: Scene) -> None:
    assert render_report(scene.report()) == render_report(scene.report())


def test_without_jinja_the_extra_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"jinja2 must be installed .* 'vidtldr\[report\]'"):
        render_report(scene.report())
