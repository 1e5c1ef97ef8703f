import base64
import hashlib
import re
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.bench_pages import hostile_page, plain_page
from support.read_page import HOSTILE, Page

from vidtldr.visualize.bench_page import BenchPage, render_bench_page, write_bench_page

HERE = Path("results")


def rendered(page: BenchPage) -> tuple[str, Page]:
    html = render_bench_page(page, HERE)
    return html, Page(html)


def test_everything_is_said_and_drawn() -> None:
    html, page = rendered(plain_page())
    assert page.text["title"] == page.text["h1"] == ["How fast it is"]
    for said in ("One model, timed.", "Merged is 1.50x as fast.", "a device, 2 threads"):
        assert said in html
    assert "vidtldr bench latency --peers 'merged;ToMe'" in page.text["bdi"]
    assert page.text["h2"] == ["In short", "Times", "The numbers"]
    assert page.text["td"] == ["1.00"] * 14 + ["3", "2"]
    assert page.all("tr")[-1] == {"class": "strong"}
    [image], [narrow] = page.all("img"), page.all("source")
    figure = plain_page().figures[0]
    for url, svg in ((image["src"], figure.svg), (narrow["srcset"], figure.narrow_svg)):
        kind, content = url.split(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(content) == svg
    assert image["alt"] == "Times. Shorter is faster. The tables below hold the numbers."


def test_what_is_not_there_is_left_out() -> None:
    bare = replace(plain_page(), verdict="", figures=[])
    _, page = rendered(bare)
    assert page.all("figure") == []
    assert page.all("a") == [{"class": "skip", "href": "#numbers"}]
    assert {"class": "verdict"} not in page.all("p")


def test_files_are_linked_from_where_the_page_lies() -> None:
    names = ["a.json", "../plots/a b?#1.svg", "javascript:alert(1)", "caf\udce9.png"]
    files = [("file", HERE / name) for name in names]
    _, page = rendered(replace(plain_page(), files=files))
    urls = [link["href"] for link in page.all("a")[1:]]
    assert urls[:3] == ["a.json", "../plots/a%20b%3F%231.svg", "javascript%3Aalert%281%29"]
    assert unquote(urls[3], errors="surrogateescape") == "caf\udce9.png"
    assert "../plots" not in "".join(page.text["bdi"])  # the name alone is shown


def test_a_name_that_is_no_unicode_is_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    size = write_bench_page(path, replace(plain_page(), command="caf\udce9"))
    assert size == path.stat().st_size
    assert r"caf\udce9" in path.read_text(encoding="utf-8")


def test_a_page_names_nothing_outside() -> None:
    html, page = rendered(replace(plain_page(), files=[("JSON", HERE / "a.json")]))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("src", "srcset", "data", "action", "poster"):
                assert value.startswith("data:")
    assert re.findall(r"https?://|url\(|@import", html) == []


def test_the_policy_allows_the_page_s_own_script_and_style_alone() -> None:
    html, page = rendered(plain_page())
    [policy] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    for kind in ("script", "style"):
        [content] = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_hostile_text_is_text_in_every_place() -> None:
    html, page = rendered(hostile_page())
    counts = {tag: len(page.all(tag)) for tag in ("script", "img", "iframe", "style", "link")}
    assert counts == {"script": 1, "img": 1, "iframe": 0, "style": 1, "link": 1}
    for tag in ("title", "h1", "h2", "h3", "th", "td", "dt", "bdi", "p", "a"):
        assert HOSTILE in "".join(page.text[tag]), tag
    assert "<script>alert" not in html


def test_landmarks_one_heading_and_names_for_what_scrolls() -> None:
    _, page = rendered(plain_page())
    for tag in ("header", "main", "footer", "h1"):
        assert len(page.all(tag)) == 1, tag
    assert page.all("html")[0]["lang"] == "en"
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", identities[0]) in identities
    scrolling = [each for each in page.all("div") if each.get("class") == "wide"]
    assert all(each["tabindex"] == "0" and each["role"] == "region" for each in scrolling)
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))


def test_equal_pages_are_equal_to_the_byte_and_small_beside_their_plots() -> None:
    html, _ = rendered(plain_page())
    assert html == render_bench_page(plain_page(), HERE)
    assert len(html.encode()) < 20_000


def test_without_jinja_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"jinja2 must be installed .* 'vidtldr\[report\]'"):
        render_bench_page(plain_page(), HERE)
