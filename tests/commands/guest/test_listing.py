"""`sldtrace guest list`."""

import json

from click.testing import CliRunner

from sldtrace.commands.guest import guest
from sldtrace.vmm import guests


def test_list_explains_every_guest() -> None:
    result = CliRunner().invoke(guest, ["list"])
    assert result.exit_code == 0
    for name in guests.names():
        one = guests.load(name)
        assert f"{name}: {one.summary}\n" in result.output
        assert f"{one.locked:#x}" in result.output
    assert max(map(len, result.output.splitlines())) <= 110


def test_list_as_json() -> None:
    listed = json.loads(CliRunner().invoke(guest, ["list", "--format=json"]).output)
    assert [one["name"] for one in listed] == guests.names()
    split = next(one for one in listed if one["name"] == "split-bts")
    assert split["crosses_cache_line"] is True
    assert split["locked_address"] == hex(guests.load("split-bts").locked)
