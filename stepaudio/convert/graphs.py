"""The two published ONNX graphs: the speaker encoder and the semantic tokenizer.

Only weights are read from a graph; what the graph computes is known (published system, sections 4
and 6.5) and stands in our own modules.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from torch import Tensor, nn

from stepaudio.convert.codebooks import fill_codebook
from stepaudio.convert.onnx_weights import OnnxWeights
from stepaudio.convert.report import FileCoverage
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig, neutral_batchnorm
from stepaudio.errors import CheckpointError
from stepaudio.hub import load_strict
from stepaudio.tokenizers.semantic import SemanticConfig, SemanticTokenizer

__all__ = ["read_campplus", "read_semantic"]

#: Channels per attention head of the published semantic tokenizer (1280 in 20 heads).
SEMANTIC_HEAD_DIM = 64

_CODEBOOK_NODE = "/quantizer/rq/model/layers.0/_codebook/MatMul"
_NOT_A_WEIGHT = "constant of the exported graph, not a weight of the network"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
#: Ends of module names: a batch norm, and the convolution that it directly follows.
_FOLLOWS = (
    ("bn1", "conv1"),
    ("bn2", "conv2"),
    ("shortcut.1", "shortcut.0"),
    ("tdnn.nonlinear.batchnorm", "tdnn.linear"),
    ("nonlinear2.batchnorm", "linear1"),
    ("dense.nonlinear.batchnorm", "dense.linear"),
)


def read_campplus(path: Path, file: str) -> tuple[CAMPPlus, FileCoverage]:
    """Read ``campplus.onnx``.

    Batch norms that the exporter merged into the convolution before them come back as batch norms
    that only add the merged bias, so the module computes the same and stays trainable.

    Args:
        path: the ONNX file.
        file: its name in the report.

    Returns:
        The speaker encoder, sized by the file, and what was used of the file.

    Raises:
        CheckpointError: the file is damaged or is not this network.
    """
    graph = _Graph(path, file, "speaker")
    config = _campplus_config(graph)
    model = CAMPPlus(config)
    follows = (*_FOLLOWS, ("out_nonlinear.batchnorm", f"transit{len(config.blocks)}.linear"))
    tensors: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            for index, (part, _) in enumerate(module.named_parameters()):
                tensors[f"{name}.{part}"] = graph.parameter(name, "Conv", part, index)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            convolution = next(
                (name[: -len(a)] + b for a, b in follows if name.endswith(f".{a}")), None
            )
            for part, value in _batchnorm(graph, name, module, convolution).items():
                tensors[f"{name}.{part}"] = value
    load_strict(model, tensors, str(path))
    return model.eval(), graph.close()


def read_semantic(
    path: Path, codes: int, file: str, *, heads: int | None = None
) -> tuple[SemanticTokenizer, FileCoverage]:
    """Read ``speech_tokenizer_v1.onnx``.

    Linear weights are stored as (in, out) and the codebook as (dim, codes); both are transposed.

    Args:
        path: the ONNX file.
        codes: size of the codebook; a smaller one is filled up, see :func:`fill_codebook`.
        file: its name in the report.
        heads: attention heads, which the weights do not tell; None means 64 channels per head, as
            in the published network.

    Returns:
        The semantic tokenizer, sized by the file, and what was used of the file.

    Raises:
        CheckpointError: the file is damaged or is not this network.
    """
    graph = _Graph(path, file, "tokenizer")
    width, n_mels, _ = graph.shape("encoders.conv1.weight", 3)
    positions, _ = graph.shape("encoders.positional_embedding", 2)
    codebook = graph.read_by(_CODEBOOK_NODE, 0, "semantic.quantizer._codebook.embed")
    try:
        config = SemanticConfig(
            n_mels=n_mels,
            width=width,
            heads=heads or max(1, width // SEMANTIC_HEAD_DIM),
            depth=next(i for i in count() if f"encoders.blocks.{i}.attn_ln.weight" not in graph),
            codes=codes,
            positions=positions,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    model = SemanticTokenizer(config)
    tensors = {"quantizer._codebook.embed": fill_codebook(codebook.T, codes, path)}
    for name in model.encoder.state_dict():
        module, _, part = name.rpartition(".")
        target = f"semantic.encoder.{name}"
        if not isinstance(model.encoder.get_submodule(module), nn.Linear):
            tensors[f"encoder.{name}"] = graph.named(f"encoders.{name}", target)
        elif part == "weight":
            weight = graph.read_by(f"{_node_path(module)}/MatMul", 0, target)
            tensors[f"encoder.{name}"] = weight.T
        else:
            tensors[f"encoder.{name}"] = graph.read_by(f"{_node_path(module)}/Add", 0, target)
    load_strict(model, tensors, str(path))
    return model.eval(), graph.close()


class _Graph:
    """One ONNX file, and what has been taken from it."""

    def __init__(self, path: Path, file: str, part: str) -> None:
        self.path = path
        self.weights = OnnxWeights(path)
        self.coverage = FileCoverage(file)
        self._part = part
        self._names = set(self.weights.names())
        self._nodes = {node.name for node in self.weights.nodes()}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def has_node(self, node: str) -> bool:
        return node in self._nodes

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """Shape of a named tensor with a known number of dimensions."""
        shape = self.weights.shape(name)
        if len(shape) != dims:
            raise CheckpointError(f"{self.path}: {name} must have {dims} dimensions, has {shape}")
        return shape

    def named(self, name: str, target: str) -> Tensor:
        """A tensor that kept its name, as float32."""
        self.coverage.used[name] = f"{self._part}: {target}"
        return self.weights.tensor(name).float()

    def read_by(self, node: str, index: int, target: str) -> Tensor:
        """The ``index``-th stored input of a node, as float32."""
        inputs = self.weights.read_by(node)
        if len(inputs) <= index:
            raise CheckpointError(
                f"{self.path}: node {node!r} reads {len(inputs)} stored tensors, "
                f"at least {index + 1} were expected"
            )
        return self.named(inputs[index], target)

    def parameter(self, module: str, op: str, part: str, index: int) -> Tensor:
        """A parameter by its own name if it has kept it, else through its module's node."""
        name = f"{module}.{part}"
        if name in self:
            return self.named(name, name)
        return self.read_by(f"{_node_path(module)}/{op}", index, name)

    def close(self) -> FileCoverage:
        names = self.weights.names()
        for name in names:
            if name not in self.coverage.used:
                self.coverage.unused[name] = _NOT_A_WEIGHT
        return self.coverage.close(names)


def _node_path(module: str) -> str:
    """``layer1.0.conv1`` as the exporter writes it: ``/layer1/layer1.0/conv1``."""
    parts: list[str] = []
    for part in module.split("."):
        numbered = part.isdigit() and parts
        parts.append(f"{parts[-1]}.{part}" if numbered else part)
    # The exporter leaves out a module list itself, which is never called.
    listed = {part.rpartition(".")[0] for part in parts if part.startswith("blocks.")}
    return "/" + "/".join(part for part in parts if part not in listed)


def _batchnorm(
    graph: _Graph, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d, convolution: str | None
) -> dict[str, Tensor]:
    """State of a batch norm: as stored, or rebuilt from the convolution it was merged into."""
    stored = f"{name}.running_mean" in graph or graph.has_node(
        f"{_node_path(name)}/BatchNormalization"
    )
    if convolution is not None and not stored:
        node = f"{_node_path(convolution)}/Conv"
        bias = graph.read_by(node, 1, f"{name}.bias")
        state = neutral_batchnorm(bias, module.eps)
        if not module.affine:
            # Without a bias of its own the norm can still add one by subtracting its negative.
            state["running_mean"] = -bias
        return {part: value for part, value in state.items() if part in module.state_dict()}
    state = {
        part: graph.parameter(name, "BatchNormalization", part, index)
        for index, part in enumerate(_NORM_PARTS)
        if part in module.state_dict()
    }
    assert module.num_batches_tracked is not None
    return state | {"num_batches_tracked": module.num_batches_tracked.clone()}


def _campplus_config(graph: _Graph) -> CAMPPlusConfig:
    """Sizes as the shapes tell them; dilations and segment length are the published ones."""

    def shape(module: str) -> tuple[int, ...]:
        name = f"{module}.weight"
        if name not in graph:
            name = graph.weights.read_by(f"{_node_path(module)}/Conv")[0]
        return graph.weights.shape(name)

    def exists(module: str) -> bool:
        return f"{module}.weight" in graph or graph.has_node(f"{_node_path(module)}/Conv")

    blocks = []
    for block in count(1):
        layer = f"xvector.block{block}.tdnnd{{}}.cam_layer.linear_local"
        depth = next(i for i in count() if not exists(layer.format(i + 1)))
        if depth == 0:
            break
        blocks.append(depth)
    if not blocks:
        raise CheckpointError(f"{graph.path} is not the published speaker encoder (no blocks)")
    head = shape("head.conv1")[0]
    init, frame, *_ = shape("xvector.tdnn.linear")
    hidden = shape("xvector.block1.tdnnd1.linear1")[0]
    growth = shape("xvector.block1.tdnnd1.cam_layer.linear_local")[0]
    return CAMPPlusConfig(
        n_mels=8 * (frame // head),
        embedding_dim=shape("xvector.dense.linear")[0],
        head_channels=head,
        init_channels=init,
        growth=growth,
        bottleneck=hidden // growth,
        blocks=tuple(blocks),
        dilations=(1, *(2 for _ in blocks[1:])),
    )
