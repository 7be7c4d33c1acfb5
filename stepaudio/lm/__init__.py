"""The language model: ids of text and audio to ids of audio.

- :mod:`~stepaudio.lm.step1`: the published decoder, :class:`~stepaudio.lm.step1.Step1LM`
- :mod:`~stepaudio.lm.alibi`: its position signal
- :mod:`~stepaudio.lm.cache`: keys and values of what was already seen
- :mod:`~stepaudio.lm.linear`: its layers, which read the weights of one row with all cores
- :mod:`~stepaudio.lm.grouped`: several codes per step (VALL-E 2),
  :class:`~stepaudio.lm.grouped.GroupedLM`
- :mod:`~stepaudio.lm.quantize`: models with weights of 8 or 4 bits
- :mod:`~stepaudio.lm.int8`: its layers of 8 bits
- :mod:`~stepaudio.lm.int4`: its layers of 4 bits
- :mod:`~stepaudio.lm.sampling`: how an id is drawn: temperature, top-k, top-p, repetition rules,
  codebook grammar
- :mod:`~stepaudio.lm.generate`: batched, seeded, cancellable generation over any model with a
  cache
- :mod:`~stepaudio.lm.guidance`: towards what a prompt asks for, away from what it would be without
- :mod:`~stepaudio.lm.served`: a model behind a server, such as vLLM's,
  :class:`~stepaudio.lm.served.ServedLM`
- :mod:`~stepaudio.lm.remote_sampling`: what to ask a server for, so that its ids follow our rules
- :mod:`~stepaudio.lm.completions`: the server's protocol: requests, streamed ids, failures
"""
