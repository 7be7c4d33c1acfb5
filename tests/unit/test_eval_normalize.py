from __future__ import annotations

import pytest

from stepaudio.evaluation.normalize import characters, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD!", "hello world"),
        ("well-known — isn't it?", "well known isn't it"),
        ("Don’t 'quote' me", "don't quote me"),
        ("[Laughter] Oh [Sigh], no", "oh no"),
        ("Café déjà", "cafe deja"),
        ("20 dogs", "twenty dogs"),
        ("1,234,567", "one two three four five six seven"),
        ("$200 and 1,005", "two hundred and one thousand five"),
        ("999999", "nine hundred ninety nine thousand nine hundred ninety nine"),
        ("007 0 10", "zero zero seven zero ten"),
        ("the 1st", "the 1st"),
        ("...", ""),
    ],
)
def test_english_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_other_languages_keep_their_letters() -> None:
    assert words("Schöne Grüße, 20", "de") == ["schöne", "grüße", "20"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好，世界！", "你好世界"),
        ("[Breathing]今天 可真累啊。", "今天可真累啊"),
        ("２０个", "二十个"),
        ("15", "十五"),
        ("105", "一百零五"),
        ("3000", "三千"),
        ("1990年", "一九九零年"),
        ("13800138000", "一三八零零一三八零零零"),
        ("OK吗", "ok吗"),
    ],
)
def test_chinese_characters(text: str, expected: str) -> None:
    assert "".join(characters(text, "zh")) == expected


def test_japanese_keeps_digits_and_long_vowels() -> None:
    assert characters("コーヒー、2つ", "ja") == list("コーヒー2つ")
