"""The page of messages has those of the source, and explains none that the source does not have."""

import re

from tools import messages_page

PAGE = messages_page.PAGE.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_source() -> None:
    assert messages_page.updated(PAGE) == PAGE, "python -m tools.messages_page"


def test_what_is_explained_is_a_message() -> None:
    explained = re.findall(r"^\*\*`([^`]+)`\*\*$", PAGE, re.MULTILINE)
    known = {message.text for message in messages_page.messages()}
    assert len(explained) > 20
    assert [text for text in explained if text not in known] == []


def test_values_hints_and_sections_of_messages() -> None:
    found = messages_page.messages()
    by_text = {(message.section, message.text): message.hint for message in found}
    recording = "`record`, `top` and `metrics`"
    assert by_text[recording, "tracefs is not mounted"] == "mount -t tracefs tracefs /sys/kernel/tracing"
    assert by_text[recording, "kernel ... has no function ..."].startswith("split-lock detection needs")
    assert (recording, "warning: ... is not attached: ...") in by_text
    assert by_text["Command line", "--rotate-keep needs --rotate"] == "add --rotate 1h, or --rotate 100M"
    assert {message.section for message in found} == set(messages_page.SECTIONS)
