"""The schema against a C compiler, against its frozen copy, and against declarations that break the rules."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace import resources
from sldtrace.errors import SldtraceError
from sldtrace.recording import schema
from sldtrace.recording.layout import LayoutError, from_json

KIND = "enum sld_kind {\n SLD_KIND_A = 1, /* struct sld_a */\n};\n"
GOOD = (
    KIND
    + "struct sld_a {\n __u64 ns; /* ns: when */\n"
    + " __s32 x; /* index: an x; -1: not known */\n __u32 y; /* id: y */\n};\n"
)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_layout_is_the_compilers(tmp_path: Path) -> None:
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <linux/types.h>", '#include "events.h"']
    lines.append("int main(void) {")
    expected = []
    for record in schema.current().records.values():
        lines.append(f'printf("{record.name} %zu\\n", sizeof(struct sld_{record.name}));')
        expected.append(f"{record.name} {record.size}")
        for field in record.fields:
            member = f"((struct sld_{record.name} *)0)->{field.name}"
            element = member + "[0]" * field.is_array
            lines.append(
                f'printf("{record.name}.{field.name} %zu %zu %d\\n",'
                f" offsetof(struct sld_{record.name}, {field.name}), sizeof({member}),"
                f" (__typeof__({element}))-1 < 0);"
                if field.dtype.kind != "S"
                else f'printf("{record.name}.{field.name} %zu %zu 0\\n",'
                f" offsetof(struct sld_{record.name}, {field.name}), sizeof({member}));"
            )
            assert record.dtype.fields is not None
            dtype, offset = record.dtype.fields[field.name][:2]
            expected.append(
                f"{record.name}.{field.name} {offset} {dtype.itemsize} {int(dtype.base.kind == 'i')}"
            )
    for each in schema.current().enums.values():
        for name, value in each.values.items():
            expected.append(f"{each.name}.{name} {value}")
            full = next(f"{prefix}{name}" for prefix in _prefixes(each.name) if _declared(f"{prefix}{name}"))
            lines.append(f'printf("{each.name}.{name} %d\\n", {full});')
    lines.append("return 0; }")
    (tmp_path / "layout.c").write_text("\n".join(lines))
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-Wno-type-limits", f"-I{resources.bpf()}", "layout.c", "-o", "layout"],
        cwd=tmp_path,
        check=True,
    )
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == expected


def _prefixes(enum: str) -> list[str]:
    words = ["SLD", *enum.upper().split("_")]
    return ["_".join(words[:end]) + "_" for end in range(len(words), 0, -1)]


def _declared(name: str) -> bool:
    return f"\t{name} = " in (resources.bpf() / "events.h").read_text()


def test_current_schema_is_the_frozen_one() -> None:
    frozen = Path(schema.__file__).parent / "schemas" / f"{schema.SCHEMA_VERSION}.json"
    assert json.loads(frozen.read_text()) == schema.current().to_json(), (
        "bpf/events.h changed: raise SCHEMA_VERSION (unless this version was never released), then"
        " python -m sldtrace.recording.schema > sldtrace/recording/schemas/VERSION.json"
    )


@pytest.mark.parametrize("version", range(1, schema.SCHEMA_VERSION + 1))
def test_every_version_is_known(version: int) -> None:
    known = schema.known(version)
    assert known is not None
    assert known.version == version


def test_unknown_version_is_not_known() -> None:
    assert schema.known(65000) is None


def test_schema_survives_json() -> None:
    again = from_json(json.loads(json.dumps(schema.current().to_json())))
    assert again == schema.current()
    assert again.records["trap"].dtype == schema.current().records["trap"].dtype


def test_flags_and_kinds_are_enums() -> None:
    flags = schema.current().enums["trap_flags"].type
    assert flags["GUEST"] | flags["SLEPT"] == 5
    assert schema.current().enums["kind"].type["LOST"] == schema.current().records["lost"].number
    assert schema.current().enums["lost_cause"].name_of(1) == "ring_full"
    assert schema.current().enums["lost_cause"].name_of(77) == "unknown-77"


def test_enumerations_that_stand_in_no_file() -> None:
    event_counts = schema.enumeration("event_counts").values
    assert event_counts["KINDS"] > max(schema.current().enums["kind"].values.values())
    assert event_counts["CAUSES"] > max(schema.current().enums["lost_cause"].values.values())
    assert "event_counts" not in schema.current().enums
    with pytest.raises(KeyError):
        schema.enumeration("nothing")


def test_a_broken_header_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events.h").write_text(GOOD.replace("__u32 y", "__u16 y"))
    monkeypatch.setattr(resources, "bpf", lambda: tmp_path)
    caches = (schema._header, schema.current)
    for each in caches:
        each.cache_clear()
    try:
        with pytest.raises(SldtraceError, match="its size 14 is not a multiple of 8; install sldtrace again"):
            schema.current()
        (tmp_path / "events.h").write_text("int x;")
        schema._header.cache_clear()
        with pytest.raises(SldtraceError, match="cannot be read: line 1: expected enum"):
            schema.current()
    finally:
        for each in caches:
            each.cache_clear()


def test_parse_reads_units_defaults_and_layout() -> None:
    record = schema.parse(GOOD, 3).records["a"]
    assert record.dtype == np.dtype([("ns", "<u8"), ("x", "<i4"), ("y", "<u4")])
    assert (record.field("x").unit, record.field("x").default) == ("index", -1)
    assert record.field("y").default == 0
    assert record.time_field == "ns"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("/* id: y */", "/* the y */", 'line 7: field y: its comment must be "unit: meaning"'),
        ("/* id: y */", "", "line 7: expected a field with a comment"),
        ("__u32 y", "__u16 y", "record a: its size 14 is not a multiple of 8"),
        ("__u32 y", "__u64 y", "record a: field y is not naturally aligned"),
        ("__u32 y", "__u24 y", "line 7: field y has type 'u24'"),
        ("__u32 y", "char y", "line 7: field y has type 'char[None]'"),
        ("__u32 y;", "__u32 y[2];", "record a: its size 20 is not a multiple of 8"),
        ("__u32 y", "int y", "line 7: expected a field with a comment"),
        ("__u32 y", "__u32 x", "record a: two fields have the same name"),
        ("id: y", "id: enum sld_nothing", "record a: field y needs enum nothing"),
        ("/* ns: when */", "/* id: when */", "record a: the first field must be its time"),
        ("struct sld_a {", "struct sld_b {", "SLD_KIND_X must come in pairs; alone: a, b"),
        ("};\nstruct", "};\nint x;\nstruct", "line 4: expected enum sld_"),
        ("SLD_KIND_A = 1", "KIND_A = 1", "every name must begin with SLD_"),
        ("SLD_KIND_A = 1", "SLD_KIND_A = SOME", "line 2: SLD_KIND_A is not given a number"),
        ("SLD_KIND_A = 1", "SLD_KIND_A = 0", "record a: its number 0 does not fit"),
        ("/* id: y */\n};\n", "/* id: y */\n", "expected a field with a comment, or };"),
    ],
)
def test_parse_says_what_is_wrong(old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(LayoutError) as caught:
        schema.parse(GOOD.replace(old, new), 1)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_a_damaged_description_is_a_layout_error_or_a_schema(data: st.DataObject) -> None:
    description = json.loads(json.dumps(schema.current().to_json()))
    at = description
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], (dict, list)) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(JSON)
        break
    try:
        again = from_json(description)
    except LayoutError:
        return
    assert from_json(again.to_json()) == again


@pytest.mark.parametrize(("version", "sound"), [(0, False), (1, True), (65535, True), (65536, False)])
def test_a_version_has_16_bits(version: int, sound: bool) -> None:
    described = schema.current().to_json() | {"version": version}
    if sound:
        assert from_json(described).version == version
        return
    with pytest.raises(LayoutError, match="does not fit 16 bits"):
        from_json(described)
