import pytest
import torch

from vidtldr.config import MergeConfig
from vidtldr.tasks.search import search_videos
from vidtldr.tasks.text_features import encode_texts, prompt_tokens

TEXT = "a dog runs"


def oracle(model, encoding, paths):
    """Cosine and match score of every video that can be read, one by one."""
    tokens = model.tokenizer([TEXT], 10)
    found = {}
    with torch.no_grad():
        text = model.encode_text(*tokens)
        for row in (encoding.encode(path) for path in paths):
            if row.error is None:
                embedding = torch.nn.functional.normalize(model.vision_proj(row.pooled), dim=-1)
                cosine = (embedding @ model.embed_text(text)[0]).item()
                match = model.rerank_scores(row.tokens.x[None], text.tokens, tokens[1]).item()
                found[row.path] = (cosine, match)
    return found


@pytest.mark.parametrize("merge", [None, MergeConfig(r=[20])])
@pytest.mark.parametrize("rerank", [0, 2, 128])
def test_videos_come_best_first(retrieval, videos, encoding_of, merge, rerank):
    encoding = encoding_of(retrieval, merge)
    expected = oracle(retrieval, encoding, videos.paths)
    by_cosine = sorted(expected, key=lambda path: -expected[path][0])
    best = sorted(by_cosine[:rerank], key=lambda path: -expected[path][1])
    results = search_videos(encoding, "A dog runs!", videos.paths, rerank=rerank)
    good = results[:-1]
    assert [result.path for result in good] == [*best, *by_cosine[rerank:]]
    assert [result.rank for result in good] == list(range(1, len(good) + 1))
    for place, result in enumerate(good):
        cosine, match = expected[result.path]
        assert result.score == pytest.approx(cosine, abs=1e-5)
        if place < rerank:
            assert result.match_score == pytest.approx(match, abs=1e-4)
        else:
            assert result.match_score is None


def test_a_broken_video_comes_last_with_its_error(retrieval, videos, encoding_of):
    *_, last = search_videos(encoding_of(retrieval), TEXT, videos.paths)
    assert last.path == str(videos.directory / videos.broken)
    assert last.rank is None
    assert last.score is None
    assert "cannot" in last.error or "no such" in last.error


def test_only_the_best_keep_their_tokens(retrieval, films, encoding_of, monkeypatch):
    from vidtldr.tasks import search

    held = []
    insert = search._insert

    def counting(hits, hit, num):
        insert(hits, hit, num)
        held.append(sum(each.tokens is not None for each in hits))
        assert all((each.row.tokens is None) == (each.tokens is None) for each in hits)

    monkeypatch.setattr(search, "_insert", counting)
    search_videos(encoding_of(retrieval), TEXT, films.paths * 2, rerank=2)
    assert held == [1] + [2] * 9
    held.clear()
    search_videos(encoding_of(retrieval), TEXT, films.paths, rerank=0)
    assert held == [0] * 5


def test_equal_videos_keep_the_order_given(retrieval, films, encoding_of):
    path = films.paths[0]
    results = search_videos(encoding_of(retrieval), TEXT, [path, path, path], rerank=2)
    assert [result.rank for result in results] == [1, 2, 3]
    assert results[0].match_score is not None


def test_all_videos_broken_is_no_error(retrieval, films, encoding_of):
    broken = str(films.directory / films.broken)
    [result] = search_videos(encoding_of(retrieval), TEXT, [broken], rerank=3)
    assert result.error
    assert search_videos(encoding_of(retrieval), TEXT, []) == []


def test_the_cache_serves_search_too(retrieval, films, encoding_of, tmp_path):
    first = search_videos(encoding_of(retrieval, cache_dir=tmp_path), TEXT, films.paths, rerank=3)
    encoding = encoding_of(retrieval, cache_dir=tmp_path)
    assert search_videos(encoding, TEXT, films.paths, rerank=3) == first
    assert encoding.num_encoded == 0


def test_a_negative_rerank_is_refused(retrieval, films, encoding_of):
    with pytest.raises(ValueError, match="rerank must be at least 0, got -1"):
        search_videos(encoding_of(retrieval), TEXT, films.paths, rerank=-1)


def test_a_model_that_answers_cannot_search(answering, films, encoding_of):
    with pytest.raises(TypeError, match="model must be a UMTRetrieval, got UMTAnswering"):
        search_videos(encoding_of(answering), TEXT, films.paths)


def test_search_under_autocast_finds_the_same_order_of_scores(retrieval, films, encoding_of):
    encoding = encoding_of(retrieval, autocast=torch.bfloat16)
    exact = {r.path: r for r in search_videos(encoding_of(retrieval), TEXT, films.paths, rerank=5)}
    for result in search_videos(encoding, TEXT, films.paths, rerank=5):
        if result.error is None:
            assert result.score == pytest.approx(exact[result.path].score, abs=0.1)


def test_the_query_is_encoded_as_a_caption(retrieval):
    tokens = prompt_tokens(retrieval.tokenizer, ["A dog runs!"], "text")
    query = encode_texts(retrieval, tokens)
    assert query.row_embeddings.norm().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_model_of_dynamic_int8_searches_too(retrieval, films, encoding_of):
    quantized = torch.ao.quantization.quantize_dynamic(retrieval, {torch.nn.Linear})
    good = search_videos(encoding_of(quantized, MergeConfig(r=[20])), TEXT, films.paths)[:-1]
    fine = search_videos(encoding_of(retrieval, MergeConfig(r=[20])), TEXT, films.paths)[:-1]
    scores = {result.path: result.score for result in fine}
    assert all(result.score == pytest.approx(scores[result.path], abs=0.1) for result in good)
