"""The synthetic-speech detector: what it is trained on, its training, and what is measured.

- :mod:`~recipes.trust.detector.engines`: systems that speak a text
- :mod:`~recipes.trust.detector.copies`: ways to make a recording again
- :mod:`~recipes.trust.detector.make`: recordings and made sound, stored alike
- :mod:`~recipes.trust.detector.alter`: what happens to sound on its way
- :mod:`~recipes.trust.detector.bank`: features of all of it
- :mod:`~recipes.trust.detector.train`: fits a network, all generators or all but one
- :mod:`~recipes.trust.detector.calibrate`: temperature, thresholds and domain
- :mod:`~recipes.trust.detector.measure`: errors on voices, generators and codecs never heard
- :mod:`~recipes.trust.detector.card`: the page of what was measured
"""

from __future__ import annotations

__all__: list[str] = []
