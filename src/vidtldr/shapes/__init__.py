"""A small world of coloured shapes: clips without end, with captions, questions and true masks.

`world.ShapesWorld` draws clips, `language` talks about them, `export` writes them as files, and
`bundled_model` says where the model lies that was trained on them.
"""
