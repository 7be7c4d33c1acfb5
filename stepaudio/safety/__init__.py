"""Safeguards: the watermark in everything that the pipelines make.

- :mod:`~stepaudio.safety.watermark`: what a watermarker is, and the door through which sound leaves
- :mod:`~stepaudio.safety.watermark_spread`: the built-in one: marks, finds, reads, localises
- :mod:`~stepaudio.safety.watermark_pattern`: its keyed pattern of time and frequency
- :mod:`~stepaudio.safety.watermark_code`: the error-correcting code of its payload
- :mod:`~stepaudio.safety.watermark_embed`: laying the pattern under the sound, piece by piece
- :mod:`~stepaudio.safety.watermark_search`: finding its place and speed
"""
