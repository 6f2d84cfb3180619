"""What the writer takes is what the reader gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sldtrace.errors import SldtraceError
from sldtrace.recording import pending, schema, writer
from sldtrace.recording.encoding import Codec, Encoder, best_codec
from sldtrace.recording.reader import open_recording
from sldtrace.recording.timeline import Loss
from sldtrace.recording.writer import Writer

from . import samples

KINDS = list(schema.current().records)
APPENDS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 90), st.booleans()), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    appends=APPENDS,
    codec=st.sampled_from([None, Codec.ZLIB, best_codec()]),
    make=st.sampled_from([samples.noise, samples.varied]),
    seed=st.integers(0, 1 << 30),
)
def test_records_come_back(
    tmp_path: Path,
    appends: list[tuple[str, int, bool]],
    codec: Codec | None,
    make: Callable[[str, int, int], np.ndarray],
    seed: int,
) -> None:
    path = tmp_path / "round.sld"
    given_records: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    with Writer(path, samples.FACTS, force=True, compress=bool(codec), encoder=Encoder(codec)) as out:
        for index, (kind, count, flush) in enumerate(appends):
            records = make(kind, count, seed + index)
            out.append(kind, records)
            given_records[kind].append(records)
            if flush:
                out.flush()
        out.close(samples.CLOSING)
    with open_recording(path) as recording:
        assert recording.warnings == []
        assert recording.closed
        assert (recording.facts, recording.closing) == (samples.FACTS, samples.CLOSING)
        for kind, parts in given_records.items():
            whole = np.concatenate([np.empty(0, schema.current().records[kind].dtype), *parts])
            assert recording.records(kind).tobytes() == samples.in_order(whole)
            assert recording.counts[kind] == len(whole)
            chunks = [records for _, records in recording.chunks(kind)]
            assert b"".join(each.tobytes() for each in chunks) == whole.tobytes()


def test_large_appends_are_split_and_buffers_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "CHUNK_BYTES", 2000)
    path = tmp_path / "large.sld"
    records = samples.noise("task", 1000)
    reused = np.empty(7, records.dtype)
    with Writer(path, {}) as out:
        out.append("task", records[:333])
        for start in range(333, 900, 7):
            reused[:] = records[start : start + 7]
            out.append("task", reused)
            reused[:] = np.zeros((), records.dtype)
        out.append(schema.current().records["task"].number, records[900:][::-1][::-1])
        out.append("task", records[:333:-1][::3])
        out.close({})
    with open_recording(path) as recording:
        parts = [each for _, each in recording.chunks("task")]
        assert max(len(each) for each in parts) == 2000 // records.dtype.itemsize
        expected = records.tobytes() + records[:333:-1][::3].tobytes()
        assert b"".join(each.tobytes() for each in parts) == expected
        assert recording.warnings == []


def test_the_file_is_readable_after_every_flush(tmp_path: Path) -> None:
    path = tmp_path / "live.sld"
    with Writer(path, samples.FACTS) as out:
        for count in range(1, 4):
            out.append("task", samples.plain("task", 1, count))
            assert out.written["task"] == count - 1
            out.flush()
            with open_recording(path) as recording:
                assert recording.counts["task"] == count
                assert recording.facts == samples.FACTS
                assert not recording.closed
                assert len(recording.warnings) == 1
                assert "the recorder still runs" in recording.warnings[0]


def test_opening_facts_are_repeated_as_the_file_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "REPEAT_BYTES", 1000)
    path = tmp_path / "repeat.sld"
    out = Writer(path, samples.FACTS)
    first_end = out.size
    for index in range(5):
        out.append("trap", samples.noise("trap", 5, index))
        out.flush()
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    assert first_end > 100
    path.write_bytes(data)
    with open_recording(path) as recording:
        assert recording.facts == samples.FACTS
        assert recording.counts["trap"] == 25
    out.close({})


def test_updates_and_span(tmp_path: Path) -> None:
    samples.make(tmp_path / "a.sld")
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.updates == [{"detail": "lowered"}]
        kinds = [kind for kind in KINDS if len(recording.records(kind))]
        times = [recording.records(kind)[schema.current().records[kind].time_field] for kind in kinds]
        assert len(kinds) > 2
        assert recording.span_ns == (min(t.min() for t in times), max(t.max() for t in times))
        assert recording.recording_id == 0x51D_7ACE


def test_losses_are_summed_by_kind_cause_and_cpu(tmp_path: Path) -> None:
    lost = samples.plain("lost", 4, 100)
    lost["count"] = [5, 1 << 33, 7, 2]
    lost["cpu"] = [3, 3, 0, 3]
    lost["kind"] = [1, 1, 1, 999]
    lost["cause"] = [1, 1, 2, 1]
    with Writer(tmp_path / "a.sld", {}) as out:
        out.append("lost", lost)
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.closing == {"reason": "abandoned"}
        assert sorted(recording.losses, key=repr) == [
            Loss("trap", "ring_full", 3, 5 + (1 << 33)),
            Loss("trap", "table_full", 0, 7),
            Loss("unknown-999", "ring_full", 3, 2),
        ]


def test_an_unknown_kind_is_one_line(tmp_path: Path) -> None:
    samples.make(tmp_path / "a.sld")
    unknown = pytest.raises(SldtraceError, match="no record kind nothing; the kinds are: trap, ")
    with open_recording(tmp_path / "a.sld") as recording, unknown:
        recording.records("nothing")


def test_a_wrong_array_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.sld", {}) as out:
        with pytest.raises(ValueError, match="must have dtype"):
            out.append("trap", samples.noise("task", 1))
        with pytest.raises(KeyError):
            out.append("nothing", samples.noise("task", 1))
        with pytest.raises(ValueError, match="JSON compliant"):
            out.facts_update({"x": float("nan")})


def test_neither_side_imports_pandas_or_bcc() -> None:
    code = (
        "import sys, sldtrace.recording.writer, sldtrace.recording.reader, sldtrace.recording.schema;"
        "sldtrace.recording.schema.current();"
        "sys.exit(bool({'pandas', 'bcc'} & set(sys.modules)))"
    )
    assert samples.python(code).returncode == 0
