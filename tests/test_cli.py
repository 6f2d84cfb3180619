"""The command line as a whole: what it imports, how it fails, how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import sldtrace
from sldtrace import cli
from sldtrace.errors import EXIT_STATUSES, SldtraceError, UsageError

ROOT = Path(sldtrace.__file__).parents[1]
HEAVY = ("pandas", "numpy", "bcc", "zstandard", "jinja2", "pyarrow")


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def command(*arguments: str, **rest: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "sldtrace", *arguments],
        text=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, **rest},
    )


def loaded_modules(code: str) -> set[str]:
    """The modules that are imported after that code."""
    run = python(f"try:\n {code}\nexcept SystemExit: pass\nimport sys\nprint('loaded', *sys.modules)")
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split()[1:])


def loaded(code: str) -> set[str]:
    """Which of the heavy modules are imported after that code."""
    return loaded_modules(code) & {*HEAVY}


# What is imported


@pytest.mark.parametrize(
    "code",
    [
        "import sldtrace",
        "import sldtrace.cli",
        "from sldtrace.cli import run; run(['--help'])",
        "from sldtrace.cli import run; run(['--version'])",
        "from sldtrace.cli import run; run(['record', '--help'])",
        "from sldtrace.cli import run; run(['report', '--help'])",
        "from sldtrace.cli import run; run(['log', '--help'])",
        "from sldtrace.cli import run; run(['guest', 'run', '--help'])",
    ],
)
def test_help_imports_nothing_heavy(code: str) -> None:
    assert loaded(code) == set()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_click_and_little_more(option: str) -> None:
    """What click does not import takes time: no command, no logging, no enum of signals."""
    more = loaded_modules(f"from sldtrace.cli import run; run([{option!r}])") - loaded_modules("import click")
    ours = {name for name in more if name.partition(".")[0] == "sldtrace"}
    assert ours == {"sldtrace", "sldtrace._version", "sldtrace.cli", "sldtrace.errors"}
    assert len(more) < 20  # most are what click itself imports to print
    assert not more & {"dataclasses", "hashlib", "json", "logging", "signal", "socket", "subprocess"}


def test_a_command_imports_no_other_command() -> None:
    modules = loaded_modules("from sldtrace.cli import run; run(['report', '--help'])")
    commands = {name.split(".")[2] for name in modules if name.startswith("sldtrace.commands.")}
    assert commands & cli.COMMANDS.keys() == {"report"}


def test_recording_never_imports_pandas() -> None:
    files = (ROOT / "sldtrace" / "capture").rglob("[!_]*.py")
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert {"sldtrace.capture.recorder", "sldtrace.capture.bpf.probes"} <= set(modules)
    assert loaded(f"import sldtrace.commands.record, {', '.join(modules)}") == {"numpy"}


RECORDINGS = sorted((ROOT / "tests/reporters/recordings").glob("*.sld"))


def test_a_summary_is_printed_without_pandas() -> None:
    """On a host where only the recorder is installed it names the VM, the cause and the remedy."""
    code = (
        "import sys; sys.modules['pandas'] = None; from sldtrace import cli\n"
        f"for path in {[*map(str, RECORDINGS)]}:\n"
        "    try: cli.run(['report', '--brief', path])\n"
        "    except SystemExit as end: assert not end.code, path"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("Split locks on ") == len(RECORDINGS) > 10
    assert "LIVELOCK: vCPU 0 of " in run.stdout


def test_a_summary_imports_little_beside_numpy_and_click() -> None:
    """Each module takes time: nothing that only a whole report, a page or a pager needs."""
    brief = ["report", "--brief", str(ROOT / "tests/reporters/recordings/lab-early-return-loop.sld")]
    more = loaded_modules(f"from sldtrace.cli import run; run({brief})") - loaded_modules(
        "import click, numpy"
    )
    rooms: dict[str, set[str]] = {}
    for name in more:
        if name.startswith("sldtrace.") and name.count(".") > 1:
            rooms.setdefault(name.split(".")[1], set()).add(name.split(".", 2)[2])
    assert rooms["commands"] == {"output", "pager", "progress", "recordings", "report"}
    assert rooms["reporters"] == {
        *("document", "formats", "groups", "html", "json", "overview", "remedies", "sentences"),
        *("style", "tables", "text", "wording"),
    }
    assert rooms["prediction"] == {"recorded_penalty", "signal_source", "thread_profile"}
    assert "simulator" not in rooms["model"]
    assert rooms.keys() == {
        *("analyzers", "commands", "dataset", "engine", "host", "model", "prediction", "recording"),
        *("reporters", "text"),
    }
    # numpy.ma: np.unique, np.isin and np.quantile import it.
    assert not more & {"hashlib", "numpy.ma", "random", "secrets", "subprocess", "tempfile"}


def test_a_log_is_read_without_pandas() -> None:
    """It has to work where only the recorder is installed."""
    nothing = "import os; os.dup2(os.open('/dev/null', 0), 0)"
    assert loaded(f"{nothing}; from sldtrace.cli import run; run(['log', '--format=json', '-'])") == set()


def test_the_check_of_imports_sees_an_import() -> None:
    assert "pandas" in loaded("import sldtrace.api")


# Commands


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str) -> None:
    run = command(flag)
    assert run.returncode == 0
    for name in cli.COMMANDS:
        assert f"\n  {name} " in run.stdout
    assert run.stderr == ""


@pytest.mark.parametrize("group", [[], ["guest"], ["service"]])
def test_what_a_command_does_is_said_in_one_line(group: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sldtrace", *group, "--help"],
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    listed = run.stdout.partition("Commands:")[2].partition("\n\n")[0].strip().splitlines()
    assert len(listed) > 1
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("name", [*cli.COMMANDS, "guest list", "guest run"])
def test_help_of_every_command(name: str) -> None:
    run = command(*name.split(), "--help")
    assert run.returncode == 0
    assert f"Usage: sldtrace {name} " in run.stdout
    assert run.stderr == ""


def test_version() -> None:
    assert command("--version").stdout == f"sldtrace, version {sldtrace.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["--nothing"], "--nothing"),
        (["report"], "Missing argument 'FILE|DIRECTORY|-...'"),
        (["simulate"], "Missing option '-o'"),
        (["record", "-o", "x", "--duration", "soon"], "'soon' is not a length of time"),
        (["record", "-o", "x", "--pid", "0"], "0 is not in the range x>=1"),
        (["report", "x", "--fail-on", "everything"], "'everything' is not one of"),
    ],
)
def test_usage_errors_have_status_2(arguments: list[str], said: str) -> None:
    run = command(*arguments)
    assert run.returncode == 2
    assert said in run.stderr.replace('"', "'")
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


# Failures


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `sldtrace boom` raise it."""

    @click.command()
    def boom() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: boom)


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (SldtraceError("it broke", "mend it"), "sldtrace: it broke; mend it", 1),
        (SldtraceError("it broke"), "sldtrace: it broke", 1),
        (UsageError("no such thing", "ask for another"), "sldtrace: no such thing; ask for another", 2),
        (OSError(28, "No space left on device"), "sldtrace: No space left on device", 1),
        (
            OSError(24, "Too many open files"),
            "sldtrace: Too many open files; raise the limit: ulimit -n 1024",
            1,
        ),
        (OSError("strange"), "sldtrace: strange", 1),
        (MemoryError(), "sldtrace: out of memory", 1),
    ],
)
def test_an_expected_failure_is_one_line(
    error: Exception,
    line: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(SystemExit) as ended:
        cli.run(["boom"])
    assert ended.value.code == status
    said = capsys.readouterr()
    assert said.err == line + "\n"
    assert said.out == ""


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.run(["boom"])


@pytest.mark.parametrize("arguments", [["--help"], ["guest", "list"]])
def test_a_reader_that_has_gone_ends_it_by_the_signal_for_that(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = command(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert run.stderr == ""
    assert run.returncode == -signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        run = command("guest", "list", stdout=full)
    assert run.stderr == "sldtrace: No space left on device\n"
    assert run.returncode == 1


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    sent: list[tuple[int, int]] = []
    handlers: list[tuple[int, object]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append((number, handler)))
    with pytest.raises(SystemExit) as ended:
        cli.run(["boom"])
    assert (signal.SIGINT, signal.SIG_DFL) in handlers
    assert sent == [(os.getpid(), signal.SIGINT)]
    assert ended.value.code == 130
    assert capsys.readouterr().err == "sldtrace: interrupted\n"


# The errors themselves


def test_an_error_says_what_and_what_to_do() -> None:
    error = SldtraceError("a is missing", "install a")
    assert (error.message, error.hint, str(error)) == ("a is missing", "install a", "a is missing; install a")
    assert str(SldtraceError("a is missing")) == "a is missing"
    assert issubclass(UsageError, SldtraceError)
    assert (SldtraceError.exit_status, UsageError.exit_status) == (1, 2)


@pytest.mark.parametrize("descriptor", [0, 2])
def test_a_closed_descriptor_is_no_reason_to_fail(descriptor: int) -> None:
    script = f"exec {sys.executable} -m sldtrace guest list {descriptor}>&-"
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stderr == ""
    assert "split-bts" in run.stdout


@pytest.mark.parametrize("arguments", ["guest list", "--help"])
def test_output_that_goes_nowhere_is_one_line(arguments: str) -> None:
    script = f"exec {sys.executable} -m sldtrace {arguments} >&-"
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "sldtrace: Bad file descriptor\n")


@pytest.mark.parametrize("arguments", [["report", "x.sld"], ["log", "x"], ["fleet", "."], ["guest", "list"]])
@pytest.mark.parametrize("free", [0, 1])
def test_too_few_descriptors_are_one_line(arguments: list[str], free: int, tmp_path: Path) -> None:
    code = f"""
import os; os.chdir({str(tmp_path)!r})
import importlib, os, resource
from sldtrace import cli
cli.main.get_command(None, {arguments[0]!r})
import sldtrace.api, sldtrace.kernlog.sources, sldtrace.fleet.run, sldtrace.fleet.sources
most = max(map(int, os.listdir("/proc/self/fd"))) + {free}
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
cli.run({arguments!r})
"""
    run = python(code)
    assert "Traceback" not in run.stderr
    assert run.returncode == 0 or run.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["sldtrace.cli", "click", "sldtrace.commands.guest", "sldtrace.vmm.plan"])
def test_ctrl_c_while_modules_are_imported_ends_it_at_once_and_silently(module: str) -> None:
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["sldtrace", "guest", "list"]
from sldtrace.__main__ import main
main()
"""
    run = python(code)
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_at_any_of_the_first_imports_ends_it_at_once_and_silently() -> None:
    code = """
import os, signal, sys
class Finder:
    def __init__(self, moment):
        self.left = moment
    def find_spec(self, name, path=None, target=None):
        if "sldtrace.__main__" in sys.modules:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
for moment in range(1, 21):
    child = os.fork()
    if not child:
        sys.meta_path.insert(0, Finder(moment))
        sys.argv = ["sldtrace", "guest", "list"]
        from sldtrace.__main__ import main
        main()
    print(-os.waitpid(child, 0)[1])
"""
    run = python(code)
    assert (run.stdout.split(), run.stderr) == ([str(-signal.SIGINT)] * 20, "")


def test_nothing_else_is_imported_before_ctrl_c_has_its_default_action() -> None:
    run = python("import sys; old = {*sys.modules}; import sldtrace.__main__; print(*{*sys.modules} - old)")
    assert set(run.stdout.split()) == {"sldtrace", "sldtrace._version", "sldtrace.__main__"}


def test_ctrl_c_while_python_starts_shows_no_code_of_ours() -> None:
    """Until the first lines of sldtrace have run, Python shows its own traceback: nothing prevents that."""
    ours = re.compile(re.escape(str(Path(cli.__file__).parent)) + r"/(\S+)\"")
    for moment in range(20):
        arguments = [sys.executable, "-m", "sldtrace", "guest", "list"]
        run = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(moment * 0.004)
        run.send_signal(signal.SIGINT)
        said = run.communicate()[1]
        assert set(ours.findall(said)) <= {"__init__.py", "__main__.py"}
        assert run.returncode in (0, 1, 130, -signal.SIGINT)
        if run.returncode == 130:
            assert said == "sldtrace: interrupted\n"


def test_ctrl_c_is_pythons_own_again_when_a_command_runs() -> None:
    code = (
        "import click, signal; from sldtrace import cli\n"
        "@click.command()\n"
        "def look(): print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        "cli.LazyGroup.get_command = lambda self, ctx, name: look\n"
        "from sldtrace.__main__ import main; import sys; sys.argv = ['sldtrace', 'guest']; main()"
    )
    assert python(code).stdout == "True\n"


def test_a_host_that_only_records_says_what_a_report_needs() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None; from sldtrace import cli\n"
        f"cli.run(['report', {str(ROOT / 'tests/reporters/recordings/lab-nothing.sld')!r}])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1
    assert run.stderr.startswith("sldtrace: the Python module pandas is missing: ")
    assert run.stderr.count("\n") == 1


# Exit statuses


def test_exit_statuses_are_one_table() -> None:
    rows = "".join(f"| {status} | {meaning} |\n" for status, meaning in EXIT_STATUSES.items())
    assert f"| exit status | meaning |\n|---|---|\n{rows}" in (ROOT / "docs/conventions.md").read_text()
    shown = command("--help").stdout.partition("Exit status:")[2]
    assert [line.split()[0] for line in shown.splitlines() if line[4:5].isdigit()] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "130",
    ]
    for meaning in EXIT_STATUSES.values():
        assert " ".join(meaning.replace("`", "").replace(";", "").split()) in " ".join(
            shown.replace(";", "").split()
        )
