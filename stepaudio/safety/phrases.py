"""What a speaker is asked to say: the consent itself, and words that nobody could have recorded.

The words are drawn when the consent is asked for, so a recording made before cannot hold them. A
request waits in the trust folder for one day and serves once.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from stepaudio.errors import NoConsentError, RecordError
from stepaudio.hub import write_atomic
from stepaudio.safety.canonical import Fields, parse
from stepaudio.safety.consent import PURPOSES, Purpose, utc

__all__ = ["LANGUAGES", "Request", "ask", "code_heard", "find_request"]

#: Languages a consent can be spoken in.
LANGUAGES = ("en", "zh")

#: Words in a code; with 26 to choose from, one guess in 300 million is right.
CODE_LENGTH = 6
#: Words of the code a recogniser must have heard, in their order.
CODE_NEEDED = 5
_VALID = timedelta(days=1)

# Words that recognisers rarely confuse.
# fmt: off
_CODE_WORDS = {
    "en": (
        "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india",
        "juliet", "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo",
        "sierra", "tango", "uniform", "victor", "whiskey", "yellow", "yankee", "zulu",
    ),
    "zh": (
        "苹果", "太阳", "月亮", "飞机", "火车", "老虎", "森林", "海洋", "春天", "学校", "医院",
        "牛奶", "鸡蛋", "雨伞", "手机", "音乐", "电影", "城市", "蓝色", "红色", "黄河", "北京",
        "上海", "足球", "熊猫", "花园",
    ),
}
_DOING = {
    "en": {
        "clone": "make new speech in my voice",
        "edit": "edit recordings of my voice",
        "train": "train models on my voice",
    },
    "zh": {
        "clone": "用我的声音生成新的语音",
        "edit": "编辑我的录音",
        "train": "用我的声音训练模型",
    },
}
# fmt: on


@dataclass(frozen=True)
class Request:
    """A consent that was asked for and not yet given.

    Attributes:
        id: names it.
        speaker: who is asked.
        asked_by: who asks.
        purposes: what for.
        scope: in words.
        languages: the voice may be made to speak.
        days: how long the consent shall last.
        lang: the phrase's language.
        code: the drawn words.
        asked: UTC, ISO 8601.
    """

    id: str
    speaker: str
    asked_by: str
    purposes: tuple[Purpose, ...]
    scope: str
    languages: tuple[str, ...]
    days: int
    lang: str
    code: tuple[str, ...]
    asked: str

    @property
    def until(self) -> str:
        """When the consent shall end, if it is given; UTC, ISO 8601."""
        return (utc(self.asked) + timedelta(days=self.days)).isoformat(timespec="seconds")

    @property
    def phrase(self) -> str:
        """What to say."""
        code = ", ".join(self.code)
        doing = [_DOING[self.lang][purpose] for purpose in self.purposes]
        end = self.until[:10]
        if self.lang == "zh":
            scope = f"，用于{self.scope}" if self.scope else ""
            return (
                f"我是{self.speaker}，我允许{self.asked_by}{'，并'.join(doing)}{scope}，"
                f"有效期至{end}。我的口令是：{'，'.join(self.code)}。"
            )
        scope = f" for {self.scope}" if self.scope else ""
        return (
            f"I am {self.speaker} and I allow {self.asked_by} to {' and to '.join(doing)}{scope} "
            f"until {end}. My code is: {code}."
        )

    def save(self, folder: Path) -> Path:
        """Keep it until the recording is there.

        Args:
            folder: of the trust store.

        Returns:
            Its file.
        """
        content = json.dumps(asdict(self), ensure_ascii=False) + "\n"
        return write_atomic(
            _path(folder, self.id),
            lambda path: path.write_text(content, encoding="utf-8"),
            private=True,
        )

    def forget(self, folder: Path) -> None:
        """Take it away: a request serves once."""
        _path(folder, self.id).unlink(missing_ok=True)


def ask(
    speaker: str,
    asked_by: str,
    purposes: tuple[Purpose, ...],
    *,
    scope: str = "",
    languages: tuple[str, ...] = (),
    days: int = 365,
    lang: str = "en",
) -> Request:
    """Draw the words of a new request.

    Args:
        speaker: who is asked.
        asked_by: who asks.
        purposes: what for.
        scope: in words.
        languages: the voice may be made to speak.
        days: how long the consent shall last.
        lang: one of :data:`LANGUAGES`.

    Returns:
        The request, not yet kept.

    Raises:
        RecordError: nobody is asked, for nothing, or in a language without a phrase.
    """
    if not speaker.strip() or not asked_by.strip():
        raise RecordError("a consent names the speaker and who asks")
    if not purposes or set(purposes) - set(PURPOSES):
        raise RecordError(f"a consent is for some of {', '.join(PURPOSES)}")
    if lang not in LANGUAGES:
        raise RecordError(f"there is no phrase in {lang!r}; choose one of {', '.join(LANGUAGES)}")
    if not 1 <= days <= 3650:
        raise RecordError(f"a consent lasts 1 to 3650 days, not {days}")
    code = tuple(secrets.choice(_CODE_WORDS[lang]) for _ in range(CODE_LENGTH))
    asked = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Request(
        secrets.token_hex(4), speaker, asked_by, purposes, scope, languages, days, lang, code, asked
    )


def find_request(folder: Path, name: str, now: datetime | None = None) -> Request:
    """A request that waits for its recording.

    Args:
        folder: of the trust store.
        name: its id.
        now: None is the current time.

    Returns:
        The request.

    Raises:
        NoConsentError: there is none of that name, or it is older than a day.
        RecordError: its file is damaged.
    """
    path = _path(folder, name)
    if not name.isalnum() or not path.is_file():
        raise NoConsentError(
            f"no request {name!r} waits here; ask with: stepaudio consent record --speaker NAME"
        )
    keys = tuple(Request.__dataclass_fields__)
    fields = Fields(parse(path.read_bytes(), str(path)), str(path), keys)
    texts = {
        key: fields.text(key) for key in ("id", "speaker", "asked_by", "scope", "lang", "asked")
    }
    purposes = tuple(one for one in PURPOSES if one in fields.texts("purposes"))
    request = Request(
        purposes=purposes,
        languages=fields.texts("languages"),
        days=fields.whole("days"),
        code=fields.texts("code"),
        **texts,
    )
    if request.id != name or not purposes or request.lang not in LANGUAGES:
        raise RecordError(f"{path} is damaged; ask again")
    now = datetime.now(timezone.utc) if now is None else now
    if now > utc(request.asked) + _VALID:
        raise NoConsentError(
            f"the request {name} is older than a day, so its words are no longer fresh; ask again"
        )
    return request


def code_heard(code: tuple[str, ...], heard: str) -> int:
    """How many words of a code are in what a recogniser heard, in their order.

    Args:
        code: the drawn words.
        heard: plain lower-case text.

    Returns:
        The largest number of words that can be found one after the other.
    """
    # best[k]: where the earliest way to find k words of the code so far ends.
    best: list[int | None] = [0] + [None] * len(code)
    for number, word in enumerate(code, start=1):
        for count in range(number, 0, -1):
            start = best[count - 1]
            place = -1 if start is None else heard.find(word, start)
            if place >= 0:
                end, known = place + len(word), best[count]
                best[count] = end if known is None else min(known, end)
    return max(count for count, end in enumerate(best) if end is not None)


def _path(folder: Path, name: str) -> Path:
    return folder / "requests" / f"{name}.json"
