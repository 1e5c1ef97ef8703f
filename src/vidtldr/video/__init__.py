"""From a video file to what a model takes: sampling, decoding, pixel transforms.

`decode.read_clip` reads frames chosen by a `sampling.Sampling`; a `transform.VideoTransform` makes
model input of them. PyAV loads on the first decode.
"""
