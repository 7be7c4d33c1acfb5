"""How the embedded model changes the manner of speaking, in the recording itself.

Emotions go a share of the way that actors go (``docs/results/nano_actors.md``, measured by
:mod:`recipes.nano.actors`): a third to a half at a time, so that two or three edits in a row come
to what actors do, and none of them to more. Surprise, which no openly licensed actor we know has
spoken, and the styles are rules of our own.
"""

from __future__ import annotations

from stepaudio.manner import Manner

__all__ = ["ACTED", "MANNERS", "share_of"]

# fmt: off
#: What actors do to a neutral sentence: medians of EmoDB's pairs.
ACTED = {
    "happy": Manner(9.0, 1.32, 0.96, colour=(-11.8, -4.5, 1.1, 3.6, 4.9, 2.5, 3.7)),
    "angry": Manner(9.1, 1.21, 0.93, colour=(-16.9, -6.7, 0.5, 5.8, 7.2, 5.6, 4.8)),
    "sad": Manner(-2.5, 0.92, 0.59, colour=(2.8, -3.2, -4.9, -1.5, 0.3, 2.3, 3.6)),
    "fear": Manner(5.6, 0.93, 1.07, colour=(-7.4, -3.5, -2.7, 0.9, 3.1, 4.5, 5.2)),
    "disgusted": Manner(2.9, 1.02, 0.70, colour=(-5.8, -3.8, -1.2, -0.2, 3.6, 1.7, 5.1)),
}
# fmt: on


def share_of(manner: Manner, share: float) -> Manner:
    """Part of the way to a manner.

    Args:
        manner: the whole way; of what :data:`ACTED` has.
        share: 1 is all of it.

    Returns:
        The manner that, as many times in a row as the share is part of 1, makes the whole.
    """
    return Manner(
        round(manner.pitch * share, 2),
        round(manner.melody**share, 3),
        round(manner.rate**share, 3),
        colour=tuple(round(gain * share, 1) for gain in manner.colour),
    )


#: By the label of the prompt. The pitch of joy and anger is far away: a third of it is plain.
MANNERS = {
    "happy": share_of(ACTED["happy"], 0.35),
    "angry": share_of(ACTED["angry"], 0.35),
    "sad": share_of(ACTED["sad"], 0.5),
    "fear": share_of(ACTED["fear"], 0.5),
    "disgusted": share_of(ACTED["disgusted"], 0.5),
    "surprised": Manner(3.0, 1.4, rise=3.0),
    "child": Manner(5.0, 1.1, formants=1.16),
    "older": Manner(-2.0, rate=0.88, formants=0.93, tremor=0.03),
    "whisper": Manner(formants=1.05, breath=1.0, colour=(-16.0, -10.0, -4.0, 0.0, 0.0, 0.0, 0.0)),
    "exaggerated": Manner(1.5, 1.9, rate=0.92),
    "serious": Manner(-1.5, 0.6, rate=0.92),
    "generous": Manner(1.0, 1.4, formants=0.97, colour=(-4.0, -2.0, 0.0, 2.0, 3.0, 2.0, 1.0)),
    "act_coy": Manner(3.0, 1.5, rate=0.93, formants=1.06, breath=0.1, rise=2.0),
}
