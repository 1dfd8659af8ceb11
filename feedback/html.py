"""Pages made on the server: templates of a package's web/ folder, and the headers every page has."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

# Colours and measures that every style sheet begins with.
TOKENS = files("feedback").joinpath("tokens.css").read_bytes()

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # A browser must not look up the hosts that an answer links to.
    "x-dns-prefetch-control": "off",
}


class Templates:
    """Those of one package; keyword arguments are known to all of them."""

    def __init__(self, package: str, **known: Any) -> None:
        self._environment = Environment(
            loader=PackageLoader(package, "web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(known)

    def page(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        html = self._environment.get_template(template).render(**values)
        return HTMLResponse(html, status_code=status, headers=HEADERS)


def see(path: str) -> RedirectResponse:
    """After a form: look there."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)
