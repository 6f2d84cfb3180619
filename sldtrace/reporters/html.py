"""A report as one page of HTML: everything is in the file, and nothing is loaded from anywhere.

Every command that has reports imports this module: what only a page needs is imported when one is made.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sldtrace.errors import SldtraceError
from sldtrace.reporters.document import Overview, Report, Section, Unit
from sldtrace.reporters.style import Style
from sldtrace.reporters.text import cell

_PAGE = Path(__file__).with_name("page")
_LEFT = {Unit.TEXT, Unit.UTC, Unit.ADDRESS}


class HtmlReporter:
    """For people, to attach and to print: the text, an overview in front, and pictures."""

    name = "html"
    extension = "html"
    pictures = True

    def check(self) -> None:
        """See Reporter."""
        _jinja2()

    def render(self, report: Report, style: Style) -> str:
        """The page. Jinja2 escapes every text; the policy in it forbids all but its own style and script."""
        from sldtrace.reporters import drawing

        jinja2 = _jinja2()
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_PAGE),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        css, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
        numbers = {id(section): number for number, section in enumerate(_all(report.sections), 1)}
        page = environment.get_template("page.html").render(
            title=_title(report),
            sections=report.sections,
            main=_main(report),
            css=jinja2.utils.markupsafe.Markup(css),
            script=jinja2.utils.markupsafe.Markup(script),
            policy=f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'",
            kind=lambda block: type(block).__name__,
            number=lambda section: numbers[id(section)],
            find=lambda title: next(
                (numbers[id(each)] for each in _all(report.sections) if each.title == title), None
            ),
            cell=cell,
            is_left=lambda column: column.unit in _LEFT,
            drawing=drawing,
        )
        return str(page)


def _jinja2() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise SldtraceError(
            "--format html needs Jinja2, which is not installed",
            "pip install 'sldtrace[html]', or apt install python3-jinja2",
        ) from error
    return jinja2


def _all(sections: Any) -> Iterator[Section]:
    for section in sections:
        yield section
        yield from _all(section.parts)


def _title(report: Report) -> str:
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Overview):
                verdicts = ", ".join(dict.fromkeys(each.verdict for each in block.verdicts))
                return f"{block.title}: {verdicts or 'nothing found'}"
    main = _main(report)
    return f"sldtrace: {main.title}" if main else "sldtrace"


# The section whose title is the heading of the page; None: an overview has it.
def _main(report: Report) -> Section | None:
    if any(isinstance(block, Overview) for section in report.sections for block in section.blocks):
        return None
    return next((section for section in report.sections if section.title), None)


# As a Content-Security-Policy names what it allows.
def _hash(text: str) -> str:
    import base64
    import hashlib

    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
