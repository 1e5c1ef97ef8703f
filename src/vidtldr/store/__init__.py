"""An index of videos on disk: vectors, files and failures in LanceDB tables (extra `[search]`).

`video_index.VideoIndex` reads, `index_writer.IndexWriter` writes and is alone in doing so,
`exact_search.ExactSearch` finds. It knows vectors and files, no model and no decoder.
"""
