"""Pages: rendered from the templates, with what all of them need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

import moderation
from moderation.web.site import Person, site_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
_templates = Jinja2Templates(HERE / "templates")  # escapes all that it is given


def page(
    request: Request, template: str, *, person: Person | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A template's page, for `person` or for nobody yet."""
    shared = {"person": person, "is_local": site_of(request).invitation is not None, "version": moderation.__version__}
    return _templates.TemplateResponse(request, template, {**shared, **values}, status_code=status)
