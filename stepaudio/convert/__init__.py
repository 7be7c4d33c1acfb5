"""Published checkpoints to our layout, and our language model to that of vLLM.

Nothing that foreign files contain is executed.

- :mod:`~stepaudio.convert.published`: both published folders to a pipeline folder,
  :func:`~stepaudio.convert.published.convert_published`
- :mod:`~stepaudio.convert.language_model`: the language model, copied tensor by tensor
- :mod:`~stepaudio.convert.checkpoints`: the PyTorch files: flow decoder and linguistic encoder
- :mod:`~stepaudio.convert.vocoders`: the vocoder, of either kind
- :mod:`~stepaudio.convert.graphs`: the ONNX files: speaker encoder and semantic tokenizer
- :mod:`~stepaudio.convert.codebooks`: codebooks at the published size
- :mod:`~stepaudio.convert.sources`: reading tensors safely
- :mod:`~stepaudio.convert.onnx_weights`: reading ONNX weights safely
- :mod:`~stepaudio.convert.yaml_settings`: reading YAML as plain data
- :mod:`~stepaudio.convert.report`: what became of every tensor
- :mod:`~stepaudio.convert.huggingface`: the way out: a Hugging Face folder of the language model,
  :func:`~stepaudio.convert.huggingface.export_huggingface`
- :mod:`~stepaudio.convert.new_folder`: folders that appear when they are complete
"""
