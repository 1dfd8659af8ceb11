"""All pages of the labelers."""

from __future__ import annotations

from fastapi import APIRouter

from feedback.labeling.pages import entry, own, templates, work
from feedback.labeling.pages.parts import Parts
from feedback.labeling.pages.visitors import Visitors


def build_router(parts: Parts) -> APIRouter:
    visitors = Visitors(parts)
    router = APIRouter()
    router.include_router(templates.build_router())
    for pages in (entry, own, work):
        router.include_router(pages.build_router(parts, visitors))
    return router
