"""A screen of top in any size, and what its keys do."""

import pytest

from sldtrace.top import table
from sldtrace.top.frame import MOVES, Header, frame, press, visible
from sldtrace.top.table import CRITICAL, SELECTED, View
from tests.top.test_rows import FROZEN, SLOW, nameless, rates

HEADER = Header("kvm-1", "12:00:00 UTC", "mode warn, mitigate 1", 3, 0.8, lambda ns: f"{ns} ns")
THREADS = [
    *({"tgid": 7, "tid": 70 + at, "vcpu": at, "rip": 0xFFFF_FFFF_8100_0C0F, **FROZEN} for at in range(40)),
    {"tgid": 9, "tid": 9, "vcpu": 0, **SLOW},
]


def lines(view: View, width: int = 80, height: int = 24) -> list[table.Line]:
    vms, shown = visible(rates(*THREADS), view, nameless)
    return frame(HEADER, vms, shown, view, width, height)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("height", [3, 10, 24, 50, 100])
@pytest.mark.parametrize("opened", [set(), {7}])
def test_a_screen_is_full_and_nothing_is_wider(width: int, height: int, opened: set[int]) -> None:
    found = lines(View(opened=opened), width, height)
    assert len(found) == height
    assert max(len(line.text) for line in found) < width
    assert found[-1].text.startswith("q quit"[: width - 1][:6])


def test_with_eighty_columns_the_verdict_and_the_loop_are_there() -> None:
    first, worst, heading, vm, *_ = lines(View())
    assert first.text.startswith("sldtrace top  kvm-1  12:00:00 UTC")
    assert first.text.endswith("3 lost  0.8 % CPU")
    assert worst.style == CRITICAL
    assert worst.text == "LIVELOCK: vmm-7 (PID 7): 40 of 40 threads at 0xffffffff81000c0f since 5 ns"
    assert heading.text.split() == ["VM", "thread", "traps/s", "early/s", "penalty", "off/s", "verdict"]
    assert vm.text.split("  ")[0] == "vmm-7"
    assert vm.text.endswith("livelock (40 of 40)")


def test_with_two_hundred_columns_everything_is_there() -> None:
    heading = lines(View(), 200)[2]
    assert heading.text.split() == [column.heading for column in table.COLUMNS]


def test_a_vm_with_one_thread_has_one_row_and_others_are_opened() -> None:
    _, shown = visible(rates(*THREADS), View(), nameless)
    assert [(row.tgid, row.tid) for row in shown] == [(7, None), (9, 9)]
    _, shown = visible(rates(*THREADS), View(opened={7}), nameless)
    assert len(shown) == 1 + 40 + 1
    assert [row.vcpu for row in shown[1:4]] == [0, 1, 2]


def test_what_does_not_fit_is_counted() -> None:
    found = lines(View(opened={7}))
    rows = 24 - 4  # two lines above, the heading, the keys
    assert found[-1].text.endswith(f"  {42 - rows} more rows")


def test_without_a_trap_it_says_so() -> None:
    view = View()
    vms, shown = visible(rates(), view, nameless)
    assert frame(HEADER, vms, shown, view, 80, 24)[1].text == "no split-lock trap so far"


def test_the_selected_row_is_on_the_screen() -> None:
    view = View(opened={7})
    for _ in range(60):
        _, shown = visible(rates(*THREADS), view, nameless)
        assert not press("down", view, shown, 10)
        assert sum(line.style == SELECTED for line in lines(view)) == 1
    assert view.selected == 41  # the last
    for key, at in (("home", 0), ("page down", 10), ("page up", 0), ("end", 41), ("up", 40)):
        press(key, view, shown, 10)
        lines(view)
        assert view.selected == at, key
    assert set(MOVES) == {"up", "down", "page up", "page down", "home", "end"}


def test_enter_opens_and_closes_the_selected_vm() -> None:
    view = View()
    for key, opened in (("down", set()), ("enter", {7}), ("enter", set()), ("right", {7}), ("left", set())):
        _, shown = visible(rates(*THREADS), view, nameless)
        press(key, view, shown, 10)
        assert view.opened == opened, key
    press("a", view, shown, 10)
    assert view.opened == {7, 9}
    press("a", view, shown, 10)
    assert view.opened == set()


def test_left_on_a_thread_selects_its_vm() -> None:
    view = View(opened={7}, selected=5)
    _, shown = visible(rates(*THREADS), view, nameless)
    press("left", view, shown, 10)
    assert (view.selected, view.opened) == (0, set())


def test_keys_for_order_pause_help_and_the_end() -> None:
    view = View()
    orders = []
    for _ in range(6):
        press("s", view, [], 10)
        orders.append(view.sort)
    assert orders == ["traps", "early", "penalty", "progress", "name", "verdict"]
    press(" ", view, [], 10)
    assert view.paused
    assert lines(view)[-1].text.startswith("PAUSED  q quit  space go on")
    press("h", view, [], 10)
    assert any("share of the time" in line.text for line in lines(view))
    assert not press("resize", view, [], 10)
    assert view.help
    assert not press("x", view, [], 10)
    assert not view.help
    assert press("q", view, [], 10)


@pytest.mark.parametrize("width", range(1, 12))
def test_of_a_long_text_the_middle_is_left_out(width: int) -> None:
    assert len(table.cut("0123456789abc", width)) == width
    assert table.cut("0123456789", width) == ("0123456789" if width >= 10 else table.cut("0123456789", width))


def test_begin_and_end_of_a_name_stay() -> None:
    assert table.cut("instance-00000abc", 9) == "ins..0abc"
