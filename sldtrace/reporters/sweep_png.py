"""The SVG picture as PNG, by resvg: a renderer without dependencies, in one wheel."""

from sldtrace.errors import SldtraceError

_ZOOM = 2  # for screens with two pixels where there used to be one


def require() -> None:
    """Raises SldtraceError where resvg-py is not installed."""
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise SldtraceError(
            "a PNG needs the Python module resvg_py", "pip install resvg-py, or take a name that ends in .svg"
        ) from error


def render(svg: str) -> bytes:
    """The picture's bytes. Raises SldtraceError where resvg-py is not installed."""
    require()
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=_ZOOM, sans_serif_family="DejaVu Sans"))
