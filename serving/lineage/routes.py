"""The route that shows a chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from feedback.errors import Unavailable
from serving.auth import VIEWERS
from serving.gateway import Gateway
from serving.lineage.trail import Trail, trace

_Id = Annotated[
    str,
    Path(
        min_length=1,
        max_length=256,
        description="Of an answer, a judgement, a version, a round or a snapshot; an alias; `user:NAME`.",
    ),
]


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """For a gateway that exists by the time it is called."""
    router = APIRouter(prefix="/admin", tags=["Operator"])

    @router.get("/lineage/{asked:path}")
    async def show_lineage(
        asked: _Id,
        request: Request,
        forward: Annotated[
            bool, Query(description="What it went into, instead of where it comes from.")
        ] = False,
        tenant: Annotated[
            str, Query(min_length=1, max_length=128, description="Of an end user.")
        ] = "default",
        verify: Annotated[
            bool, Query(description="Hash every file on the way; takes as long as reading them.")
        ] = False,
    ) -> dict[str, Any]:
        """From a served answer to the judgements behind its weights, or from a judgement, an end user, a
        snapshot or a round to the versions it touched. What is broken on the way is said."""
        key = await gateway().identify(request, *VIEWERS)

        def read() -> Trail:
            return trace(
                gateway().redis,
                gateway().settings.data_dir,
                asked,
                direction="forward" if forward else "backward",
                tenant=tenant,
                only_tenant=None if "admin" in key.scopes else key.tenant,
                verify=verify,
            )

        try:
            return (await asyncio.to_thread(read)).shown()
        except OSError as error:
            raise Unavailable(f"a folder or the archive cannot be read: {error}") from error

    return router
