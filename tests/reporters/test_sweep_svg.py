"""The picture of a sweep: well-formed, nothing outside of it, points and lines where the numbers are."""

import re
from xml.etree import ElementTree

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.reporters import axis, sweep_png, sweep_svg
from sldtrace.vmm.kicks import Kind
from tests.reporters.sweeps import MS, SWEEP, figure

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def circles(root: ElementTree.Element) -> dict[str, tuple[float, float, str]]:
    """Centre and filling of each measured point, by what it says when it is pointed at."""
    return {
        title.text or "": (float(each.attrib["cx"]), float(each.attrib["cy"]), each.attrib["fill"])
        for each in root.iter(f"{SVG}circle")
        if (title := each.find(f"{SVG}title")) is not None
    }


def test_points_are_where_their_numbers_are() -> None:
    drawn = figure()
    root = parsed(sweep_svg.render([drawn]))
    found = circles(root)
    assert len(found) == 5
    dead, alive = found["1 ms: 0 loops, 0/s"], found["25 ms: 160,000 loops, 400k/s"]
    free = found["25 ms: 400,000 loops, 1M/s"]
    assert dead[2] == "#ffffff"
    assert alive[2] not in ("#ffffff", free[2])
    assert alive[0] == free[0]
    # Heights in proportion, from the line of 0 upwards.
    floor = dead[1]
    assert found["8 ms: 0 loops, 0/s"][1] == floor
    assert (floor - alive[1]) / (floor - free[1]) == pytest.approx(0.4, abs=0.01)
    # And the predicted lines end where they belong.
    ends = [each.attrib["points"].split()[-1].split(",") for each in root.iter(f"{SVG}polyline")]
    assert [float(x) for x, _ in ends] == [alive[0]] * 2
    _in_the_legend, band = [each for each in root.iter(f"{SVG}rect") if each.attrib["fill"] == "#fdf0d5"]
    scale = (alive[0] - dead[0]) / 24
    assert float(band.attrib["x"]) == pytest.approx(dead[0] + 7 * scale, abs=0.2)
    assert float(band.attrib["width"]) == pytest.approx(4 * scale, abs=0.2)


def test_several_sweeps_share_their_scale_and_nothing_is_cut_off() -> None:
    many = [figure(release=f"6.{number}.0") for number in range(1, 5)]
    root = parsed(sweep_svg.render(many))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = [each for each in root.iter(f"{SVG}circle") if each.find(f"{SVG}title") is not None]
    assert len(found) == 20
    assert all(0 < float(each.attrib["cx"]) < width for each in found)
    assert all(0 < float(each.attrib["cy"]) < height for each in found)
    titles = [each.text for each in root.iter(f"{SVG}text") if (each.text or "").startswith("Linux")]
    assert titles == [f"Linux 6.{number}.0" for number in range(1, 5)]


def test_without_a_penalty_there_is_no_band_and_without_progress_no_line() -> None:
    off = sweep_svg.render([figure(mode="off")])
    assert "chance" not in off
    assert "no trap (off)" in off
    dead = sweep_svg.render([figure(points=SWEEP.points[:2])])
    assert "polyline" not in dead
    assert ">model<" not in dead
    rare = sweep_svg.render([figure(every=1000)])
    assert "polyline" not in rare


def test_a_hostile_name_stays_text() -> None:
    text = sweep_svg.render([figure(release="6.1<script>alert(1)</script>\x1b[31m", guest="a&b")])
    root = parsed(text)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x1b" not in text
    assert re.search(r"6\.1&lt;script&gt;.*\\x1b", text)


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (40, [0, 10, 20, 30, 40]),
        (65.9e6, [0, 20e6, 40e6, 60e6, 80e6]),
        (0.003, [0, 0.001, 0.002, 0.003]),
    ],
)
def test_marks_are_round_and_reach_the_top(top: float, expected: list[float]) -> None:
    assert axis.ticks(top) == pytest.approx(expected)


def test_numbers_at_the_axis_are_short() -> None:
    assert [axis.short(n) for n in (0, 7.25, 950, 999.7, 1500, 999_700, 20e6, 3e9, 2e12)] == [
        "0",
        "7.25",
        "950",
        "1k",
        "1.5k",
        "1M",
        "20M",
        "3G",
        "2T",
    ]


def test_a_png_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(SldtraceError, match=r"resvg_py; pip install resvg-py, or take a name"):
        sweep_png.render("<svg/>")


def test_the_png_is_one_and_has_the_picture_in_it() -> None:
    pytest.importorskip("resvg_py")
    png = sweep_png.render(sweep_svg.render([figure()]))
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == 2 * float(parsed(sweep_svg.render([figure()])).attrib["width"])


def test_a_periodic_kick_is_shown_and_predicted_as_such() -> None:
    by_clock = figure(kick=Kind.TGKILL)
    assert "timer by tgkill" in by_clock.note
    assert "armed anew" in figure().note
    assert by_clock.chance_ns == (8 * MS, 12 * MS)
