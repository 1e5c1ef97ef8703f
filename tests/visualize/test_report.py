import base64
import hashlib
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.read_page import HOSTILE, Page
from support.scenes import Scene, data_of, frames_of, large_umt_scene

from vidtldr.measure.busyness import BusyReport
from vidtldr.video.transform import Region
from vidtldr.visualize.charts import layer_chart, mass_chart
from vidtldr.visualize.report import render_report, verdict, write_report
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
    assert "2.3 GFLOPs became 1.14" in html
    assert "3.0 ms instead of 6.5 ms (2.17x)" in html
    other = replace(report.merged, answers=[Answer("rain", "9%")])
    assert "The first answer changes." in render_report(replace(report, merged=other))
    silent = replace(report.merged, answers=[])
    assert "first answer" not in render_report(replace(report, merged=silent))


def test_the_verdict_speaks_of_speed_only_where_the_times_tell_it(scene: Scene) -> None:
    report = scene.report()
    overlapping = replace(report, merged=replace(report.merged, times_ms=[4.0, 6.5, 5.0]))
    assert ["speed-up", "–", "not told apart", "1.30x"] in Page(render_report(overlapping)).rows
    assert verdict(overlapping).endswith(
        "1.14. Their times do not tell them apart: a forward takes 4.0 ms to 6.5 ms merged, "
        "6.0 ms to 9.0 ms unmerged."
    )
    once = replace(report, merged=replace(report.merged, times_ms=[1.0]))
    assert verdict(once).endswith("1.14. One run of each does not tell their times apart.")
    slower = replace(report, merged=replace(report.merged, times_ms=[10.0, 12.0, 14.0]))
    told = "a forward takes 12.0 ms instead of 6.5 ms (0.54x). "
    assert told + "Merging " in verdict(slower)
    assert verdict(slower).endswith("larger batches or longer clips, or leave this model unmerged.")
    assert verdict(replace(slower, busy=BusyReport(0.5, True))).endswith(told.rstrip())
    for unsure in (overlapping, once):
        assert "x)" not in verdict(unsure)


def test_a_caveat_stands_above_the_verdict_which_leaves_out_answers_without_meaning(
    scene: Scene,
) -> None:
    report = scene.report(caveat=HOSTILE, notes=["It is cut off."], are_answers_meant=False)
    html = render_report(report)
    notes = [text for text in Page(html).text["li"] if text in (HOSTILE, "It is cut off.")]
    assert notes == [HOSTILE, "It is cut off."]
    assert html.index("It is cut off.") < html.index('class="verdict"')
    assert "first answer" not in html


def test_the_command_is_shown_where_it_is_known(scene: Scene) -> None:
    assert HOSTILE in Page(render_report(scene.report(command=HOSTILE))).text["bdi"]
    assert "Made by</p>" not in render_report(scene.report())


def test_hatching_is_explained_where_it_is_drawn(scene: Scene) -> None:
    words = "atched: background that was dropped"
    assert "hatched: background that was dropped" in render_report(scene.report())
    tome_first = scene.report(merged=scene.side("ToMe", "ToMe"), rival=None)
    assert words not in render_report(tome_first)
    beside = scene.report(
        merged=scene.side("ToMe", "ToMe"), rival=scene.side("vid-TLDR", "vid-TLDR")
    )
    assert "Hatched: background that was dropped" in render_report(beside)


def test_the_table_has_the_figures_of_each_side_in_its_column(scene: Scene) -> None:
    rows = Page(render_report(scene.report())).rows
    assert rows[:7] == [
        ["", "Unmerged", "vid-TLDR", "ToMe"],
        ["answer 1", "a cat & a dog 61.0%", "a cat & a dog 58.0%", "wind 47.0%"],
        ["answer 2", "rain 9.0%", "snow 8.0%", "rain 7.0%"],
        ["tokens at the end", "48", "24", "24"],
        ["GFLOPs", "2.30", "1.14", "1.35"],
        [
            "time of a forward",
            "6.5 ms (6.0 ms to 9.0 ms)",
            "3.0 ms (2.0 ms to 4.0 ms)",
            "5.0 ms (4.5 ms to 5.5 ms)",
        ],
        ["speed-up", "–", "2.17x", "1.30x"],
    ]


def test_the_facts_are_listed_by_name(scene: Scene) -> None:
    report = scene.report()
    page = Page(render_report(report))
    values = [text for text in page.text["bdi"] if text in dict(report.facts).values()]
    assert list(zip(page.text["dt"], values, strict=True)) == report.facts
    assert [name for name, _ in report.facts] == ["Model", "Schedule", "Device"]


def test_methods_are_compared_by_what_their_last_layers_did(scene: Scene) -> None:
    rows = Page(render_report(scene.report())).rows[7:13]
    last = [scene.seen[name].layers[-1] for name in ("vid-TLDR", "ToMe")]
    assert rows == [
        ["", "vid-TLDR", "ToMe"],
        ["tokens", "24", "24"],
        ["patches dropped", *(str((layer.weight == 0).sum()) for layer in last)],
        ["patches that share a token", *(str(layer.is_shared.sum()) for layer in last)],
        ["patches in the largest group", *(str(layer.num_members.max()) for layer in last)],
        ["largest mass", *(f"{layer.mass.max():.2f}" for layer in last)],
    ]
    assert all(mine != others for _, mine, others in rows[2:])


def test_charts_are_drawn_where_they_were_worked_out(scene: Scene) -> None:
    report = scene.report()
    page = Page(render_report(report))
    gflops = [[flops / 1e9 for flops in side.flops_per_layer] for side in report.sides]
    num_tokens = [side.num_tokens for side in report.sides]
    lines = [
        line
        for name, values in (("tokens", num_tokens), ("costs", gflops))
        for line in layer_chart(name, "", "", report.sides, values).lines
    ]
    assert [(line["class"], line["points"]) for line in page.all("polyline")] == [
        (f"line-{line.series}", line.points) for line in lines
    ]
    assert len({line.points for line in lines}) == 5  # both methods keep as many tokens
    bars = [bar for bar in page.all("rect") if (bar.get("class") or "").startswith("bar-")]
    drawn = [bar for bar in bars if "y" in bar]  # a key's has none
    expected = mass_chart(report.methods).bars
    assert [bar["class"] for bar in drawn] == [f"bar-{bar.series}" for bar in expected]
    for side in ("x", "y", "width", "height"):
        assert [bar[side] for bar in drawn] == [f"{getattr(bar, side):.1f}" for bar in expected]


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
        assert canvas["role"] == ("application" if "tabindex" in canvas else "img")
    walked = [canvas for canvas in page.all("canvas") if "tabindex" in canvas]
    assert [(canvas["data-view"], canvas["data-method"]) for canvas in walked] == [
        ("groups", "0"),
        ("groups", "1"),
    ]
    assert all(canvas["aria-describedby"] in identities for canvas in walked)
    for picture in page.all("svg"):
        assert picture.get("aria-hidden") == "true" or picture["aria-labelledby"] in identities


def test_equal_reports_are_equal_to_the_byte(scene: Scene) -> None:
    assert render_report(scene.report()) == render_report(scene.report())


def test_without_jinja_the_extra_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"jinja2 must be installed .* 'vidtldr\[report\]'"):
        render_report(scene.report())
