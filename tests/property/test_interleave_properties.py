from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.errors import TokenError
from stepaudio.tokenizers.interleave import (
    deinterleave,
    from_text,
    interleave,
    regroup_for_decoder,
    to_text,
    truncate,
    truncate_ids,
    validate,
)
from stepaudio.types import SpeechTokens, TokenSpec

specs = st.builds(TokenSpec, st.integers(1, 1024), st.integers(1, 4096))
offsets = st.sampled_from([0, 1, 300, 65536])


@st.composite
def streams(draw: st.DrawFn, whole: bool = False, least: int = 0) -> SpeechTokens:
    spec = draw(specs)
    units = draw(st.integers(least, 12))
    extra = (0, 0) if whole else (draw(st.integers(0, 7)), draw(st.integers(0, 7)))

    def codes(count: int, size: int) -> torch.Tensor:
        numbers = draw(st.lists(st.integers(0, size - 1), min_size=count, max_size=count))
        return torch.tensor(numbers, dtype=torch.int64)

    return SpeechTokens(
        codes(2 * units + extra[0], spec.linguistic_size),
        codes(3 * units + extra[1], spec.semantic_size),
        spec,
    )


def same(one: SpeechTokens, other: SpeechTokens) -> bool:
    return (
        torch.equal(one.linguistic, other.linguistic)
        and torch.equal(one.semantic, other.semantic)
        and one.spec == other.spec
    )


@given(streams(), offsets)
def test_round_trip(tokens: SpeechTokens, offset: int) -> None:
    ids = interleave(tokens, offset)
    assert ids.dtype == torch.int64
    assert same(deinterleave(ids, tokens.spec, offset), truncate(tokens))
    assert torch.equal(interleave(deinterleave(ids, tokens.spec, offset), offset), ids)
    assert same(from_text(to_text(tokens), tokens.spec), truncate(tokens))


@given(streams())
def test_length_laws(tokens: SpeechTokens) -> None:
    units = min(len(tokens.linguistic) // 2, len(tokens.semantic) // 3)
    cut = truncate(tokens)
    assert (len(cut.linguistic), len(cut.semantic)) == (2 * units, 3 * units)
    assert same(truncate(cut), cut)
    assert len(interleave(tokens)) == 5 * units
    assert cut.seconds == tokens.seconds == pytest.approx(0.12 * units)


@given(streams(whole=True), offsets)
def test_order(tokens: SpeechTokens, offset: int) -> None:
    ids = (interleave(tokens, offset) - offset).tolist()
    size = tokens.spec.linguistic_size
    for unit in range(tokens.num_units):
        five = ids[5 * unit : 5 * unit + 5]
        assert five[:2] == tokens.linguistic[2 * unit : 2 * unit + 2].tolist()
        assert [k - size for k in five[2:]] == tokens.semantic[3 * unit : 3 * unit + 3].tolist()


@given(streams(whole=True, least=1), offsets, st.data())
def test_any_slot_in_another_codebook_is_rejected(
    tokens: SpeechTokens, offset: int, data: st.DataObject
) -> None:
    spec, ids = tokens.spec, interleave(tokens, offset)
    position = data.draw(st.integers(0, len(ids) - 1))
    small, full = spec.linguistic_size, spec.size
    own = range(small) if position % 5 < 2 else range(small, full)
    wrong = data.draw(st.integers(-offset - 3, full + 9000).filter(lambda k: k not in own))
    ids[position] = offset + wrong
    for check in (validate, deinterleave):
        with pytest.raises(TokenError, match=rf"id {offset + wrong} at position {position} "):
            check(ids, spec, offset)
    if wrong >= 0:
        text = "".join(f"<audio_{k}>" for k in (ids - offset).tolist())
        with pytest.raises(TokenError, match=f"position {position} "):
            from_text(text, spec)


@given(streams(whole=True, least=1), st.integers(1, 4))
def test_a_broken_last_unit_is_rejected(tokens: SpeechTokens, cut: int) -> None:
    ids = interleave(tokens)[:-cut]
    with pytest.raises(TokenError, match=f"from position {5 * tokens.num_units - 5}, is incomp"):
        deinterleave(ids, tokens.spec)
    whole = deinterleave(truncate_ids(ids, tokens.spec), tokens.spec)
    assert whole.num_units == tokens.num_units - 1


@given(streams(whole=True, least=1), st.data())
def test_a_dropped_or_doubled_id_is_rejected(tokens: SpeechTokens, data: st.DataObject) -> None:
    ids = interleave(tokens)
    at = data.draw(st.integers(0, len(ids) - 1))
    for broken in (
        torch.cat([ids[:at], ids[at + 1 :]]),
        torch.cat([ids[: at + 1], ids[at:]]),
    ):
        with pytest.raises(TokenError):
            deinterleave(broken, tokens.spec)


@given(streams(whole=True, least=1), st.data())
def test_any_other_text_is_rejected(tokens: SpeechTokens, data: st.DataObject) -> None:
    text = to_text(tokens)
    at = data.draw(st.integers(0, len(text)))
    junk = data.draw(st.sampled_from([" ", "\n", "<audio_>", "<audio_-1>", "<audio_00>", "x", "٣"]))
    with pytest.raises(TokenError):
        from_text(text[:at] + junk + text[at:], tokens.spec)


@given(streams(whole=True, least=1), st.integers(0, 4))
def test_regrouping(tokens: SpeechTokens, cut: int) -> None:
    spec, ids = tokens.spec, interleave(tokens)
    pairs = regroup_for_decoder(ids[: len(ids) - cut], spec)
    assert pairs.shape == (3 * tokens.num_units, 2)
    assert (pairs >= 0).all()
    assert (pairs <= spec.size).all()
    assert (pairs[2::3, 0] == spec.linguistic_size).all()
    if not cut:
        columns = pairs.reshape(-1, 3, 2)
        assert torch.equal(columns[:, :2, 0].flatten(), tokens.linguistic)
        assert torch.equal(pairs[:, 1], tokens.semantic + spec.linguistic_size + 1)
    else:
        # All but the last unit is untouched by what is missing at the end.
        assert torch.equal(pairs[:-3], regroup_for_decoder(ids, spec)[:-3])
