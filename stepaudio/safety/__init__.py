"""Safeguards: the watermark in everything the pipelines make.

Interface and values in ``watermark``, the built-in scheme in ``watermark_spread``: its keyed pattern
in ``watermark_pattern``, the code of its payload in ``watermark_code``, marking in
``watermark_embed``, finding in ``watermark_search`` and ``watermark_spread``.
"""
