"""Recordings and text to tokens; from the recording on, each file one idea.

- :mod:`~stepaudio.tokenizers.preprocess`: peak, rate, loudness and silence of a recording before
  it is tokenized
- :mod:`~stepaudio.tokenizers.features`: filter-bank features of the linguistic tokenizer
- :mod:`~stepaudio.tokenizers.sanm`: its encoder
- :mod:`~stepaudio.tokenizers.linguistic`: the linguistic tokenizer: 16.7 codes per second, what is
  said
- :mod:`~stepaudio.tokenizers.whisper_mel`: log-mel of the semantic tokenizer
- :mod:`~stepaudio.tokenizers.semantic`: the semantic tokenizer: 25 codes per second, also how it
  is said
- :mod:`~stepaudio.tokenizers.dual`: both tokenizers as one,
  :class:`~stepaudio.tokenizers.dual.DualCodebookTokenizer`
- :mod:`~stepaudio.tokenizers.content`: whether two runs of codes say the same words
- :mod:`~stepaudio.tokenizers.interleave`: two streams to one, 2:3, and back; to ids, to text, to
  what the decoder reads
- :mod:`~stepaudio.tokenizers.text`: text to ids,
  :class:`~stepaudio.tokenizers.text.SentencePieceText`
- :mod:`~stepaudio.tokenizers.sentencepiece`: reading a published ``tokenizer.model``
- :mod:`~stepaudio.tokenizers.text_training`: making a small vocabulary of one's own
"""
