"""Why goals of docs/speed.md are missed, in words; only those that the figures miss are printed."""

from __future__ import annotations

__all__ = ["NEVER_MEASURED", "OBSTACLES", "ONCE"]

#: By the key of a goal.
OBSTACLES = {
    "hugging_face": (
        "Decoding beside Hugging Face",
        "Both sides read the same weights once per token, so only the way of reading and what "
        "comes on top can differ. In float32 both read them at the speed of memory where MKL, "
        "which PyTorch asks, works on a single row with all threads (CPUs of Intel); on others "
        "`stepaudio.lm.linear` gives it to oneDNN. In bfloat16 it asks for a vector, which "
        "PyTorch reads by itself, a third faster than oneDNN does for them. The layers inside "
        "`nano` are small: its token is some hundred short calls, and calling them costs more "
        "than reading. One product for all layers that read the same input would save a tenth "
        "(measured), but their weights would have to share memory, which makes programs that "
        "save or shard them by storage lose some. Without compiled code of our own, or "
        "`torch.compile`, which needs a compiler on the user's machine and a minute at the "
        "start, the other calls stay.",
    ),
    "bfloat16": (
        "bfloat16 at 80 % of the bandwidth",
        "Products are 94 % of a token; each reads its weights at 25 GB/s where one long sum over "
        "memory gets 31: threads meet before and after each, and pages of 4 KB are looked up. "
        "With pages of 2 MB (`THP_MEM_ALLOC_ENABLE=1` in the environment of PyTorch) the share "
        "is 81 %. The other 6 % are norms, attention and residuals. Where the CPU has no bfloat16 "
        "instructions, each of these small operations also widens and narrows its numbers.",
    ),
    "int8": (
        "8 bits at 1.7 times bfloat16",
        "Half as many bytes are at most twice as fast, and inputs must be rounded to whole numbers "
        "before each layer, during which no weight is read. Every weight meets two digits of the "
        "input, because one digit would round the input. With AVX-512 VNNI or AMX that costs "
        "nothing; without them a product of 8 bits takes three instructions, and the layer is "
        "bound by arithmetic: it takes about as long as that of bfloat16.",
    ),
    "int4": (
        "4 bits at 2.5 times bfloat16",
        "The kernel that PyTorch has for 4 bits expands every weight to a float in registers. With "
        "AVX-512 that takes a little longer than reading a quarter of the bytes, with AVX2 longer "
        "than reading all of them in bfloat16. A kernel that multiplies 4 bits as whole numbers "
        "would have to be compiled; this library has no compiled code. The output layer has 8 "
        "bits.",
    ),
    "linguistic": (
        "The linguistic encoder at 80 % of its matrix products",
        "Its time includes the filter bank, windows, memory blocks (depthwise convolutions), "
        "norms and the search for the nearest code, which are not products of large matrices. At "
        "the size of `nano` the matrices are also too small to reach the rate of large ones. "
        "Profile of the published shape: 78 % linear layers, 5 % attention, 4 % each padding and "
        "copies, 3 % sums, 2 % memory blocks; the search and the filter bank take 2 %.",
    ),
    "flow_bfloat16": (
        "The flow in bfloat16 at 3 times float32",
        "Only products become faster, and only on a CPU with units for them (AMX, or AVX-512 "
        "with bfloat16): without, large products are slower than in float32 (see the prompt's "
        "time in [small machines](small-machines.md)). Norms, activations and sums between them "
        "take as long as before. Profile of two threads with AMX: 42 % linear layers, at 1.8 to "
        "2.3 TFLOP/s (with weights packed beforehand too), 15 % convolutions, 10 % attention, "
        "6 % each norms, copies and Mish, 9 % GELU and sums. Linear layers are what a second "
        "thread hardly helps (0.75 ms to 0.67 ms a call): with one thread the whole is 3.2 times "
        "as fast as in float32.",
    ),
    "realtime": (
        "An edit at 0.3 of real time",
        "Most of it is the flow decoder, which sees the voice and the new speech together, and "
        "writing the codes token by token; `draws` writes every edit several times and keeps the "
        "best. The stages above say how near each is to its limit.",
    ),
    "cold_start": (
        "A start within 4 s",
        "Most of it is `import torch`. The command line imports it only when there is work.",
    ),
    "memory": (
        "An edit within 1 GB",
        "PyTorch itself takes most of it; the weights are 40 MB.",
    ),
    "batch": (
        "A batch of 8 at half the time of its members",
        "Tokens are written together at hardly more than the time of one, but flow and vocoder "
        "are bound by arithmetic: twice the frames are twice the work.",
    ),
    "first_chunk": (
        "The first sound after 0.5 s",
        "The model must read its prompt and write six units before the decoder may begin; the "
        "chunk sizes are the published ones.",
    ),
}

#: What is asked for and has no figure here, and why.
NEVER_MEASURED = (
    "**A GPU.** No figures from one are committed: no CUDA-graph decoding, no prefill against the "
    "matrix peak, no Triton kernel timed.",
    "**The anti-aliased activation** of BigVGAN goes over memory three times on a CPU, as the "
    "published one does, and is as fast. On a GPU a Triton kernel makes one pass of it "
    "(`stepaudio.decoder.snake_kernel`): tested in Triton's interpreter and compiled for compute "
    "capabilities 8.0 and 9.0, but never timed; it is checked against the plain path before its "
    "first use, and left alone where it fails.",
    "**Prompts.** A row beside Hugging Face, without a goal, but slower than theirs with SDPA at "
    "some sizes: theirs sets a causal flag. Ours adds a bias by distance to every head, so a "
    "table of heads, queries and keys is read in every layer, in blocks of at most 192 queries.",
    "**A published vocoder in bfloat16.** HiFT gains less than the flow by it, BigVGAN loses, and "
    "what it does to their sound could only be told with trained weights, of which none are "
    "here; that of the embedded model takes half a percent of real time. Vocoders stay in float32.",
    "**Fewer steps.** `steps` and `guidance` are arguments, and the embedded model takes 2 steps "
    "without guidance: [quality by steps, start and noise](experiments/nano.md).",
    "**TRL.** Its PPO step is a row of `benchmarks/compare.py` where TRL is installed.",
)

#: Work that is not repeated.
ONCE = (
    "A `VoicePrompt` holds codes, mel and speaker embedding: made once, saved, used again. The "
    "flow decoder reads them anew for each result, because its attention goes both ways: what it "
    "makes of the prompt depends on what follows. A stream reads them once for all its chunks.",
    "The time embedding and the modulations of all blocks are computed for one row per solver "
    "step, whatever the batch and the guidance.",
    "Buffers: keys and values double when full, up to the context; the biases by distance "
    "likewise, once per model; a stream keeps 96 frames besides its voice, and the keys of its "
    "token encoder, as published.",
    "A stream that is closed, cancelled or let go of frees its caches at once; tests watch them.",
)
