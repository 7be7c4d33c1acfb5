"""``stepaudio consent``: taking a speaker's consent down, looking at it, taking it back."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.options import AsJson, Device, Force, Model, check_device
from stepaudio.cli.screen import Screen, tell
from stepaudio.cli.targets import check_target

if TYPE_CHECKING:
    from stepaudio.safety.consent import ConsentRecord, WordsLevel
    from stepaudio.safety.phrases import Request
    from stepaudio.safety.store import TrustStore

__all__ = ["list_records", "record", "revoke", "show", "verify_record"]

_ASK = "To ask"
_TAKE = "To take down what was said"


class PurposeOption(str, Enum):
    """What a consent can allow."""

    clone = "clone"
    edit = "edit"
    train = "train"


class PhraseLanguage(str, Enum):
    """Languages a consent can be spoken in."""

    en = "en"
    zh = "zh"


Record = Annotated[
    str,
    typer.Argument(metavar="RECORD", help="File or id of a consent record.", show_default=False),
]


def record(
    speaker: Annotated[
        str, typer.Option(help="Who is asked.", rich_help_panel=_ASK, show_default=False)
    ] = "",
    asked_by: Annotated[
        str,
        typer.Option(help="Who may use the voice.", rich_help_panel=_ASK, show_default=False),
    ] = "",
    purpose: Annotated[
        list[PurposeOption] | None,
        typer.Option(help="What for; give it again for more.", rich_help_panel=_ASK),
    ] = None,
    scope: Annotated[
        str, typer.Option(help="The project or product, in words.", rich_help_panel=_ASK)
    ] = "",
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="The voice may be made to speak; any if not given.", rich_help_panel=_ASK
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="How long it lasts.", rich_help_panel=_ASK)
    ] = 365,
    phrase_language: Annotated[
        PhraseLanguage, typer.Option(help="The phrase's language.", rich_help_panel=_ASK)
    ] = PhraseLanguage.en,
    request: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Of the phrase that was spoken.", rich_help_panel=_TAKE),
    ] = None,
    spoken: Annotated[
        Path | None,
        typer.Option(metavar="WAV", help="Recording of the phrase.", rich_help_panel=_TAKE),
    ] = None,
    voice: Annotated[
        Path | None,
        typer.Option(
            metavar="WAV",
            help="Recording to be used as the voice; that of the phrase if not given.",
            rich_help_panel=_TAKE,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a copy of the record here.",
            rich_help_panel=_TAKE,
        ),
    ] = None,
    whisper: Annotated[
        str | None,
        typer.Option(help="Size of the recogniser that listens.", rich_help_panel=_TAKE),
    ] = None,
    listen: Annotated[
        bool,
        typer.Option(
            "--listen/--no-listen", help="Check the words that were said.", rich_help_panel=_TAKE
        ),
    ] = True,
    model: Model = None,
    device: Device = "auto",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Ask a speaker for consent, then take down what was said.

    The first call prints a phrase with words drawn for this occasion. The speaker records it within
    a day; the second call, with --request and --spoken, checks words and voice and writes the
    signed record.
    """
    if request is None:
        if spoken is not None or voice is not None or output is not None:
            raise typer.BadParameter(
                "say whose phrase was spoken; the first call printed it.", param_hint="'--request'"
            )
        if not (speaker.strip() and asked_by.strip() and purpose):
            raise typer.BadParameter("give --speaker, --asked-by and --purpose, or a --request.")
        _ask(speaker, asked_by, purpose, scope, language or [], days, phrase_language, as_json)
        return
    if spoken is None:
        raise typer.BadParameter("give the recording of the phrase.", param_hint="'--spoken'")
    if output is not None:
        check_target(output, force=force)
    _take_down(
        request,
        spoken,
        voice or spoken,
        output,
        whisper,
        listen,
        model=model,
        device=device,
        as_json=as_json,
        force=force,
    )


def _ask(
    speaker: str,
    asked_by: str,
    purposes: list[PurposeOption],
    scope: str,
    languages: list[str],
    days: int,
    lang: PhraseLanguage,
    as_json: bool,
) -> None:
    from stepaudio.safety.consent import PURPOSES
    from stepaudio.safety.phrases import ask
    from stepaudio.safety.store import TrustStore

    wanted = {one.value for one in purposes}
    asked = ask(
        speaker,
        asked_by,
        tuple(one for one in PURPOSES if one in wanted),
        scope=scope,
        languages=tuple(languages),
        days=days,
        lang=lang.value,
    )
    asked.save(TrustStore().folder)
    values = {"command": "consent record", "request": asked.id, "phrase": asked.phrase}
    tell(
        values,
        f"Let {speaker} read this aloud and record it, today:\n\n  {asked.phrase}\n\nThen:\n\n"
        f"  stepaudio consent record --request {asked.id} --spoken PHRASE.wav --voice VOICE.wav",
        as_json,
    )


def _take_down(
    name: str,
    spoken: Path,
    voice: Path,
    output: Path | None,
    whisper: str | None,
    listen: bool,
    *,
    model: str | None,
    device: str,
    as_json: bool,
    force: bool,
) -> None:
    from stepaudio.safety.enrolment import enrol
    from stepaudio.safety.phrases import find_request
    from stepaudio.safety.store import TrustStore

    store = TrustStore()
    request = find_request(store.folder, name)
    check_device(device)
    with Screen() as screen:
        said, prompt, encoder = _listen_to_voices(spoken, voice, model, device, screen)
        screen.wait("listening to the words")
        words: WordsLevel = _words(request, spoken, whisper) if listen else "unverified"
        made, score = enrol(request, said, prompt, encoder, words=words, store=store)
    if output is not None:
        made.save(output, force=force)
    values = {
        "command": "consent record",
        "id": made.id,
        "output": None if output is None else str(output),
        "words": made.words,
        "similarity": round(score, 4),
    }
    line = (
        f"consent {made.id} of {made.speaker}, until {made.expires[:10]}; words {made.words}, "
        f"similarity of phrase and voice {score:.2f}"
    )
    tell(values, line, as_json)
    if made.words == "unverified":
        typer.secho(
            "warning: nobody has listened to the words; pip install 'stepaudio[eval]' brings a "
            "recogniser",
            fg=typer.colors.YELLOW,
            err=True,
        )


def _listen_to_voices(
    spoken: Path, voice: Path, model: str | None, device: str, screen: Screen
) -> Any:
    """Both recordings as the model's speaker encoder hears them, and which encoder that is."""
    import torch

    from stepaudio.audio import Audio
    from stepaudio.cutting import voice_stretch
    from stepaudio.devices import resolve_device
    from stepaudio.locate import locate
    from stepaudio.parts import load_part
    from stepaudio.safety.enrolment import HeardVoice
    from stepaudio.safety.weights import sampled_digest
    from stepaudio.voice import embed_voice

    sounds = [Audio.load(path).require_sound() for path in (spoken, voice)]
    screen.wait("loading the model")
    encoder = load_part(locate(model), "speaker", device=resolve_device(device))
    screen.wait("listening to the voice")
    with torch.no_grad():
        said, prompt = (
            HeardVoice(embed_voice(voice_stretch(sound), encoder), sound.digest())
            for sound in sounds
        )
    return said, prompt, sampled_digest(encoder)


def _words(request: Request, spoken: Path, whisper: str | None) -> WordsLevel:
    from stepaudio.audio import Audio
    from stepaudio.cli.spoken_consent import check_words

    return check_words(request, Audio.load(spoken), whisper)


def verify_record(name: Record, as_json: AsJson = False) -> None:
    """Check a record: signature, signer, end, and whether it was taken back."""
    from stepaudio.safety.policy import check_record

    store, found = _find(name)
    check_record(found, None, store)
    values = {"command": "consent verify", "id": found.id, "valid": True, "words": found.words}
    line = (
        f"consent {found.id} is valid: {found.speaker} allows {found.asked_by} to "
        f"{' and to '.join(found.purposes)} until {found.expires[:10]}; words {found.words}"
    )
    tell(values, line, as_json)


def show(name: Record, as_json: AsJson = False) -> None:
    """Show what a record says."""
    from stepaudio.safety.keys import key_name

    _, found = _find(name)
    values: dict[str, Any] = {
        "id": found.id,
        "speaker": found.speaker,
        "asked_by": found.asked_by,
        "purposes": list(found.purposes),
        "scope": found.scope,
        "languages": list(found.languages),
        "given": found.given,
        "expires": found.expires,
        "phrase": found.phrase,
        "words": found.words,
        "signer": key_name(found.key),
    }
    lines = [
        f"{key}: {', '.join(value) if isinstance(value, list) else value}"
        for key, value in values.items()
    ]
    tell({"command": "consent show", **values}, "\n".join(lines), as_json)


def revoke(name: Record, as_json: AsJson = False) -> None:
    """Take a consent back; this cannot be undone."""
    store, found = _find(name)
    store.revoke(found)
    values = {"command": "consent revoke", "id": found.id}
    tell(values, f"consent {found.id} of {found.speaker} is taken back", as_json)


def list_records(as_json: AsJson = False) -> None:
    """List the records kept on this machine, and whether they are valid."""
    from stepaudio.safety.store import TrustStore

    store = TrustStore()
    rows = [
        {
            "id": one.id,
            "speaker": one.speaker,
            "purposes": list(one.purposes),
            "expires": one.expires,
            "state": _state(one, store),
        }
        for one in store.records()
    ]
    lines = [
        f"{row['id']}  {row['state']}  until {row['expires'][:10]}  {'+'.join(row['purposes'])}  "
        f"{row['speaker']}"
        for row in rows
    ]
    tell(
        {"command": "consent list", "records": rows},
        "\n".join(lines) or f"no consent records in {store.folder}",
        as_json,
    )


def _find(name: str) -> tuple[TrustStore, ConsentRecord]:
    from stepaudio.safety.store import TrustStore

    store = TrustStore()
    return store, store.find(name)


def _state(found: ConsentRecord, store: TrustStore) -> str:
    from stepaudio.errors import ConsentExpiredError, ConsentRevokedError, SignatureError
    from stepaudio.safety.policy import check_record

    try:
        check_record(found, None, store)
    except ConsentExpiredError:
        return "expired"
    except ConsentRevokedError:
        return "revoked"
    except SignatureError:
        return "bad signature"
    return "valid"
