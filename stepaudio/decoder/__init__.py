"""Tokens to mel frames to sound.

- :mod:`~stepaudio.decoder.mel`: waveform to log-mel, what both halves agree on
- :mod:`~stepaudio.decoder.speaker`: a recording to one vector of the voice,
  :class:`~stepaudio.decoder.speaker.CAMPPlus`
- :mod:`~stepaudio.decoder.flow`: tokens and a voice to mel,
  :class:`~stepaudio.decoder.flow.TokenFlowDecoder`
- :mod:`~stepaudio.decoder.conformer`: its token encoder
- :mod:`~stepaudio.decoder.dit`: its velocity network
- :mod:`~stepaudio.decoder.flow_config`: its settings, published and ours
- :mod:`~stepaudio.decoder.prompt_fit`: the prompt's mel on the grid of its tokens
- :mod:`~stepaudio.decoder.flow_matching`: its training pairs, time schedule, solvers and guidance
- :mod:`~stepaudio.decoder.streaming`: mel while the tokens are still being made
- :mod:`~stepaudio.decoder.chunking`: when there is enough for the next chunk
- :mod:`~stepaudio.decoder.crossfade`: sound while the tokens are still being made, as published
- :mod:`~stepaudio.decoder.hift`: the published vocoder,
  :class:`~stepaudio.decoder.hift.HiFTVocoder`
- :mod:`~stepaudio.decoder.hift_source`: its harmonic source
- :mod:`~stepaudio.decoder.bigvgan`: the vocoder the paper names,
  :class:`~stepaudio.decoder.bigvgan.BigVGANVocoder`
- :mod:`~stepaudio.decoder.bigvgan_config`: the sizes it was published in
- :mod:`~stepaudio.decoder.snake`: its activations
- :mod:`~stepaudio.decoder.snake_kernel`: the same in one pass over memory, on a GPU
- :mod:`~stepaudio.decoder.weight_norm`: folding the weight normalisation of published vocoders
- :mod:`~stepaudio.decoder.istft`: our vocoder at the frame rate,
  :class:`~stepaudio.decoder.istft.ISTFTVocoder`
- :mod:`~stepaudio.decoder.griffin_lim`: the vocoder without weights,
  :class:`~stepaudio.decoder.griffin_lim.GriffinLim`
- :mod:`~stepaudio.decoder.stft`: the Fourier transform of the last two, and its inverse
- :mod:`~stepaudio.decoder.windows`: streaming of vocoders that see a bounded neighbourhood
- :mod:`~stepaudio.decoder.early`: the first chunk of a stream, before they have all of it
"""
