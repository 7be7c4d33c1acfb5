"""The data of the embedded model.

``python -m recipes.nano.data`` makes all of it. ``build`` is the list of stages, ``stages`` runs
them, ``plan`` decides how much of each. Speech: ``synthesize``, ``kokoro`` (``mandarin_texts``).
Words in time: ``align`` (``phones``, ``symbols``, ``viterbi``, ``words``), ``pieces``. Edits:
``transform`` (``world``, ``voice_change``), ``nonverbal`` (``nonverbal_sounds``), ``noise``,
``silence``, ``acted``; ``timeline`` tells which moment of a result was which before; ``pauses`` and
``splice`` are shared. Then ``joint``, ``gate`` and ``features``. ``corpus`` is the manifest,
``journal`` what makes a stage go on where it was stopped.
"""
