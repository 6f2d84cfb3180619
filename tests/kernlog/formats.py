"""Writes the same messages in each format that people and tools keep a kernel's log in, by its own rules."""

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

HOST, BOOT = "pve-1", "0f" * 16
WALL_NS = 1_781_360_000_000_000_000  # of the boot
OTHER = "usb 1-1: new high-speed USB device number 4 using xhci_hcd"


@dataclass(frozen=True)
class Message:
    """A line of the kernel's log: us since boot, and its text."""

    us: int
    text: str

    @property
    def seconds(self) -> str:
        return f"{self.us // 1_000_000:5}.{self.us % 1_000_000:06}"

    @property
    def wall_us(self) -> int:
        return WALL_NS // 1000 + self.us

    @property
    def iso(self) -> str:
        return datetime.fromtimestamp(self.wall_us // 10**6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")

    @property
    def fraction(self) -> str:
        return f"{self.wall_us % 1_000_000:06}"


Writer = Callable[[list[Message]], str]


def lines(write: Callable[[Message], str]) -> Writer:
    return lambda messages: "".join(write(each) + "\n" for each in messages)


def fields(each: Message) -> dict[str, str]:
    return {
        "__CURSOR": "s=1", "__REALTIME_TIMESTAMP": str(each.wall_us),
        "__MONOTONIC_TIMESTAMP": str(each.us + 9),
        "_BOOT_ID": BOOT, "_HOSTNAME": HOST, "_TRANSPORT": "kernel", "PRIORITY": "4",
        "_SOURCE_MONOTONIC_TIMESTAMP": str(each.us), "SYSLOG_IDENTIFIER": "kernel", "MESSAGE": each.text,
    }  # fmt: skip


def colours(each: Message) -> str:
    head, colon, rest = each.text.partition(": ")
    return f"\x1b[32m[{each.seconds}] \x1b[0m\x1b[33m{head}{colon}\x1b[0m\x1b[1m{rest}\x1b[0m"


def grep_colours(each: Message) -> str:
    return f"[{each.seconds}] {each.text}".replace("split", "\x1b[01;31m\x1b[Ksplit\x1b[m\x1b[K")


def dmesg_json(messages: list[Message]) -> str:
    entries = [
        f'      {{\n         "pri": 4,\n         "time": {each.seconds},\n         "msg": '
        f"{json.dumps(each.text)}\n      }}"
        for each in messages
    ]
    return '{\n   "dmesg": [\n' + ",\n".join(entries) + "\n   ]\n}\n"


def delta(messages: list[Message]) -> str:
    text, last = "", None
    for each in messages:
        since = " " * 16 if last is None else f" <{(each.us - last) / 1e6:12.6f} >"
        text += f"[{each.us / 1e6:12.6f}{since}] {HOST} kernel: {each.text}\n"
        last = each.us
    return text


def export(each: Message) -> str:
    return "".join(f"{name}={value}\n" for name, value in fields(each).items())


def verbose(each: Message) -> str:
    stamp = each.iso.replace("T", " ")
    cursor = f"s={'a' * 32};i=1;b={BOOT};m={each.us:x};t={each.wall_us:x};x=1"
    inner = "\n".join(f"    {name}={value}" for name, value in fields(each).items() if name[:2] != "__")
    return f"Sat {stamp}.{each.fraction} UTC [{cursor}]\n{inner}"


def elastic(each: Message) -> str:
    return json.dumps({
        "_index": "logs", "_source": {
            "@timestamp": f"{each.iso}.{each.fraction}Z", "message": each.text,
            "event": {"original": each.text}, "host": {"name": HOST, "id": "1"},
            "journald": {"host": {"boot_id": BOOT}},
            "systemd": {"transport": "kernel"}, "agent": {"type": "journalbeat"},
        },
    })  # fmt: skip


def fluent_bit(each: Message) -> str:
    return (
        f'[0] kmsg.0: [[{each.wall_us // 10**6}.{each.fraction}000, {{}}], {{"priority"=>4, "sequence"=>1, '
        f'"sec"=>{each.us // 10**6}, "usec"=>{each.us % 10**6}, "msg"=>"{each.text}", "host"=>"{HOST}"}}]'
    )


def loki(messages: list[Message]) -> str:
    values = [[str(each.wall_us * 1000), each.text] for each in messages]
    stream = {"stream": {"nodename": HOST, "job": "systemd-journal"}, "values": values}
    return json.dumps({"status": "success", "data": {"resultType": "streams", "result": [stream]}}) + "\n"


def loki_line(each: Message) -> str:
    return json.dumps({
        "labels": {"host": HOST, "transport": "kernel"}, "line": each.text,
        "timestamp": f"{each.iso}.{each.fraction}Z",
    })  # fmt: skip


def vector(each: Message) -> str:
    return json.dumps({
        "host": HOST, "message": each.text, "source_type": "journald", "_TRANSPORT": "kernel",
        "_BOOT_ID": BOOT, "timestamp": f"{each.iso}.{each.fraction}Z",
    })  # fmt: skip


def docker(each: Message) -> str:
    return json.dumps({
        "log": f"[{each.seconds}] {each.text}\n", "stream": "stdout", "time": f"{each.iso}.{each.fraction}Z",
    })  # fmt: skip


def date(each: Message) -> str:
    return datetime.fromtimestamp(each.wall_us // 10**6, timezone.utc).strftime("%b %d %H:%M:%S")


SINCE_BOOT: Mapping[str, Writer] = {
    "dmesg": lines(lambda each: f"[{each.seconds}] {each.text}"),
    "dmesg --color": lines(colours),
    "grep --color": lines(grep_colours),
    "dmesg --json": dmesg_json,
    "dmesg --raw": lines(lambda each: f"<4>[{each.seconds}] {each.text}"),
    "dmesg -x": lines(lambda each: f"kern  :warn  : [{each.seconds}] {each.text}"),
    "/dev/kmsg": lines(lambda each: f"4,17,{each.us},-,caller=T9;{each.text}"),
    "quoted twice": lines(lambda each: f"> > [{each.seconds}] {each.text}"),
    "grep -n": lines(lambda each: f"12:[{each.seconds}] {each.text}"),
    "wrapped by mail": lines(
        lambda each: "\n".join(textwrap.wrap(f"[{each.seconds}] {each.text}", 72, break_on_hyphens=False))
    ),
}
"""Formats with the time since boot, and no host."""

WITH_HOST: Mapping[str, Writer] = {
    "short-monotonic": lines(lambda each: f"[{each.seconds}] {HOST} kernel: {each.text}"),
    "short-delta": delta,
    "pdsh": lines(lambda each: f"{HOST}: [{each.seconds}] {each.text}"),
    "compose": lines(lambda each: f"{HOST}  | [{each.seconds}] {each.text}"),
    "syslog": lines(lambda each: f"{date(each)} {HOST} kernel: [{each.seconds}] {each.text}"),
}
"""With the host, too."""

WITH_WALL_TIME: Mapping[str, Writer] = {
    "short-iso": lines(lambda each: f"{each.iso}.{each.fraction}+0000 {HOST} kernel: {each.text}"),
    "short-unix": lines(lambda each: f"{each.wall_us // 10**6}.{each.fraction} {HOST} kernel: {each.text}"),
    "quoted": lines(lambda each: f"# {each.iso}.{each.fraction}Z {HOST} kernel: {each.text}"),
    "json": lines(lambda each: json.dumps(fields(each))),
    "json-sse": lines(lambda each: f"data: {json.dumps(fields(each))}\n"),
    "json-seq": lines(lambda each: f"\x1e{json.dumps(fields(each))}"),
    "json-pretty": lines(lambda each: json.dumps(fields(each), indent="\t", separators=(",", " : "))),
    "json of bytes": lines(lambda each: json.dumps({**fields(each), "MESSAGE": list(each.text.encode())})),
    "export": lines(export),
    "verbose": lines(verbose),
    "Elastic": lines(elastic),
    "Elastic over several lines": lines(lambda each: json.dumps(json.loads(elastic(each)), indent=2)),
    "Fluent Bit": lines(fluent_bit),
    "Loki": loki,
    "logcli": lines(loki_line),
    "Vector": lines(vector),
    "Docker": lines(docker),
}
"""With the host, and the time in UTC."""
