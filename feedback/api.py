"""The routes /v1/feedback/*: rankings, comparisons, ratings, demonstrations, assignments.

A 201 means that the judgement survives the loss of any process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from feedback.assignments import Assignment, Assignments
from feedback.intake import Caller, Intake
from feedback.judgements import Comparison, Demonstration, Judgement, Ranking, Rating

Identify = Callable[[Request], Awaitable[Caller]]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


def build_router(
    *,
    intake: Callable[[], Intake],
    assignments: Callable[[], Assignments],
    identify: Identify,
    identify_labeler: Identify,
) -> APIRouter:
    """`identify` raises where a request may not judge, `identify_labeler` where it may not label."""
    router = APIRouter(prefix="/v1/feedback", tags=["Feedback"])

    async def accept(
        judgement: Judgement, request: Request, response: Response, key: str | None
    ) -> dict[str, Any]:
        caller = await identify(request)
        receipt = await intake().accept(judgement, caller, idempotency_key=key)
        if receipt.is_replay:
            response.headers["idempotent-replayed"] = "true"
        event = receipt.event
        return {
            "id": event.id,
            "object": "feedback",
            "created": int(event.created),
            "form": event.form,
            "labeler": event.labeler,
        }

    @router.post("/rankings", status_code=201)
    async def rankings(
        body: Ranking, request: Request, response: Response, idempotency_key: IdempotencyKey = None
    ) -> dict[str, Any]:
        """A candidate set in order, ties allowed."""
        return await accept(body, request, response, idempotency_key)

    @router.post("/comparisons", status_code=201)
    async def comparisons(
        body: Comparison,
        request: Request,
        response: Response,
        idempotency_key: IdempotencyKey = None,
    ) -> dict[str, Any]:
        """Two answers to one prompt."""
        return await accept(body, request, response, idempotency_key)

    @router.post("/ratings", status_code=201)
    async def ratings(
        body: Rating, request: Request, response: Response, idempotency_key: IdempotencyKey = None
    ) -> dict[str, Any]:
        """One answer: Likert 1 to 7, a thumb, flags."""
        return await accept(body, request, response, idempotency_key)

    @router.post("/demonstrations", status_code=201)
    async def demonstrations(
        body: Demonstration,
        request: Request,
        response: Response,
        idempotency_key: IdempotencyKey = None,
    ) -> dict[str, Any]:
        """The answer that a person would have given."""
        return await accept(body, request, response, idempotency_key)

    @router.get("/assignments/next", responses={204: {"description": "Nothing waits."}})
    async def next_assignment(
        request: Request,
        labeler: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    ) -> Any:
        """Lease the next candidate set that this labeler has not judged."""
        caller = await identify_labeler(request)
        assignment = await assignments().next(
            labeler=labeler or caller.key_id, tenant=caller.tenant
        )
        return Response(status_code=204) if assignment is None else _show(assignment)

    return router


def _show(assignment: Assignment) -> dict[str, Any]:
    """Blind: no model, no scores, nobody else's judgements."""
    completion_id = assignment.completion.id
    return {
        "object": "assignment",
        "completion_id": completion_id,
        "lease_ends": int(assignment.lease_ends),
        "messages": assignment.messages(),
        "candidates": [
            {"completion_id": completion_id, "index": choice.index, "text": choice.text}
            for choice in assignment.choices
        ],
    }
