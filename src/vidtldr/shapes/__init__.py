"""A small world of coloured shapes: unlimited clips with captions, questions and true masks.

`world.ShapesWorld` draws clips, `language` describes them, `export` writes them as files, and
`vidtldr.bundled` locates the model that was trained on them.
"""
