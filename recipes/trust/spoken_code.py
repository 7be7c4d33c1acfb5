"""Does the recogniser hear the words of a consent? Phrases read by a synthesizer, right and wrong.

python -m recipes.trust.spoken_code --count 15

Each phrase is read once and heard against its own request, then against another one of the same
speaker. Uses hibari-tts, as ``recipes/nano/synthesize.py`` does, and the extra ``eval``.
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle, islice

import hibari
import torch

from stepaudio.audio import Audio
from stepaudio.cli.spoken_consent import check_words
from stepaudio.errors import WordsError
from stepaudio.safety.phrases import Request, ask

SPEAKERS = ("Ada Bell", "John Miller", "Maria Garcia", "Wei Zhang", "Sam O'Neill")


def request(speaker: str) -> Request:
    """A request with words drawn anew."""
    return ask(speaker, "Studio Nine", ("clone",), scope="the museum guide")


def verified(asked: Request, sound: Audio) -> bool:
    """Whether the words of a request are heard."""
    try:
        return check_words(asked, sound, None) == "verified"
    except WordsError:
        return False


def main() -> None:
    """Read, listen, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=15)
    args = parser.parse_args()
    voice = hibari.Hibari()
    right = wrong = 0
    for speaker in islice(cycle(SPEAKERS), args.count):
        asked = request(speaker)
        sound = Audio(torch.tensor(voice(asked.phrase), dtype=torch.float32), hibari.SAMPLE_RATE)
        right += verified(asked, sound)
        wrong += verified(request(speaker), sound)
    print(json.dumps({"phrases": args.count, "verified": right, "another code verified": wrong}))


if __name__ == "__main__":
    main()
