"""The routes /v1/feedback/*: rankings, comparisons, ratings, demonstrations, corrections, assignments.

A 201 means that the judgement survives the loss of any process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError

from feedback import own
from feedback.callers import Caller
from feedback.corrections import Correction
from feedback.errors import BadRequest, Unprocessable
from feedback.events import Feedback
from feedback.intake import Intake
from feedback.journal import Journal
from feedback.judgements import Comparison, Demonstration, Judgement, Ranking, Rating, Skip
from feedback.labeling.assignments import Assignments, Worker
from feedback.labeling.given import Assignment
from feedback.labeling.queues import Task

Identify = Callable[[Request], Awaitable[Caller]]
LabelerName = Annotated[str | None, Query(min_length=1, max_length=128)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


_FORMS: dict[str, type[Judgement]] = {
    "/v1/feedback/rankings": Ranking,
    "/v1/feedback/comparisons": Comparison,
    "/v1/feedback/ratings": Rating,
    "/v1/feedback/demonstrations": Demonstration,
}


def endpoints(
    *, intake: Callable[[], Intake], identify: Identify
) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """What takes a judgement, by path: for callers without FastAPI in between, which is half of the work."""
    return {
        path: partial(_take, form=form, intake=intake, identify=identify)
        for path, form in _FORMS.items()
    }


def build_router(
    *,
    journal: Callable[[], Journal],
    intake: Callable[[], Intake],
    assignments: Callable[[], Assignments],
    identify: Identify,
    identify_labeler: Identify,
) -> APIRouter:
    """`identify` raises where a request may not judge, `identify_labeler` where it may not label."""
    router = APIRouter(prefix="/v1/feedback", tags=["Feedback"])

    taking = endpoints(intake=intake, identify=identify)

    @router.post("/rankings", status_code=201)
    async def rankings(
        body: Ranking, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """A candidate set in order, ties allowed."""
        return await taking["/v1/feedback/rankings"](request)

    @router.post("/comparisons", status_code=201)
    async def comparisons(
        body: Comparison, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Two answers to one prompt."""
        return await taking["/v1/feedback/comparisons"](request)

    @router.post("/ratings", status_code=201)
    async def ratings(
        body: Rating, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """One answer: Likert 1 to 7, a thumb, flags."""
        return await taking["/v1/feedback/ratings"](request)

    @router.post("/demonstrations", status_code=201)
    async def demonstrations(
        body: Demonstration, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """The answer that a person would have given."""
        return await taking["/v1/feedback/demonstrations"](request)

    @router.post("/corrections", status_code=201)
    async def corrections(
        body: Correction, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """What moderation should have said of a text. For those who may label: its classifier learns it."""
        return await _take(request, form=Correction, intake=intake, identify=identify_labeler)

    @router.get("")
    async def list_own(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    ) -> dict[str, Any]:
        """What you said, newest first: changed and taken back judgements as well."""
        caller = await identify(request)
        page = await own.page(journal(), caller, limit=limit, after=after)
        data = [own.shown(event) for event in page.judgements]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": page.cursor if page.has_more or not data else data[-1]["id"],
            "has_more": page.has_more,
        }

    @router.get("/{feedback_id}")
    async def get_own(feedback_id: str, request: Request) -> dict[str, Any]:
        """One judgement of yours, and those that it replaced, newest first."""
        event = await intake().find(feedback_id, await identify(request))
        history = await own.history(journal(), event)
        return {**own.shown(event), "history": [own.shown(before) for before in history]}

    @router.delete("/{feedback_id}")
    async def retract(feedback_id: str, request: Request) -> dict[str, Any]:
        """Take a judgement back: it counts no more. The log keeps both."""
        event = await intake().retract(feedback_id, await identify(request))
        return {"id": feedback_id, "object": "feedback.retracted", "retraction": event.id}

    @router.get("/assignments/next", responses={204: {"description": "Nothing waits."}})
    async def next_assignment(
        request: Request,
        labeler: LabelerName = None,
        task: Task = "rank",
    ) -> Any:
        """Lease the next piece of work that this labeler has not done."""
        caller = await identify_labeler(request)
        worker = Worker(labeler=caller.names(labeler), tenant=caller.tenant)
        assignment = await assignments().next(worker, task=task)
        return Response(status_code=204) if assignment is None else _show(assignment)

    @router.post("/assignments/{assignment_id}/renew")
    async def renew(
        assignment_id: str, request: Request, labeler: LabelerName = None
    ) -> dict[str, Any]:
        """Hold it longer, while somebody is at it."""
        caller = await identify_labeler(request)
        ends = await assignments().renew(assignment_id, labeler=caller.names(labeler))
        return {"id": assignment_id, "object": "assignment", "lease_ends": int(ends)}

    @router.post("/assignments/{assignment_id}/skip", status_code=201)
    async def skip(
        assignment_id: str, body: Skip, request: Request, labeler: LabelerName = None
    ) -> dict[str, Any]:
        """It cannot be judged: others may have it."""
        caller = await identify_labeler(request)
        given = await assignments().find(assignment_id, labeler=caller.names(labeler))
        event = await intake().skip(given, caller, body)
        return _receipt(event)

    return router


async def _take(
    request: Request, *, form: type[Judgement], intake: Callable[[], Intake], identify: Identify
) -> Response:
    caller = await identify(request)
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Unprocessable("an Idempotency-Key has 1 to 255 characters", param="idempotency-key")
    judgement = _parse(form, await request.body())
    receipt = await intake().accept(judgement, caller, idempotency_key=key)
    headers = {"idempotent-replayed": "true"} if receipt.is_replay else None
    body = orjson.dumps(_receipt(receipt.event))
    return Response(body, status_code=201, media_type="application/json", headers=headers)


def _parse(form: type[Judgement], body: bytes) -> Judgement:
    """Raises BadRequest for what is no JSON, Unprocessable naming the field for what cannot be true."""
    try:
        return form.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        message = f"{where}: {first['msg']}" if where else first["msg"]
        raise Unprocessable(message, param=where or None) from None


def _receipt(event: Feedback) -> dict[str, Any]:
    return {
        "id": event.id,
        "object": "feedback",
        "created": int(event.created),
        "form": event.form,
        "labeler": event.labeler,
        "replaces": event.replaces,
    }


def _show(assignment: Assignment) -> dict[str, Any]:
    """Blind: no model, no scores, nobody else's judgements, nor whether the answer is known."""
    given = assignment.given
    return {
        "id": assignment.id,
        "object": "assignment",
        "task": given.task,
        "kind": given.kind,
        "completion_id": given.completion_id,
        "lease_ends": int(assignment.lease_ends),
        "messages": assignment.messages,
        "candidates": [asdict(answer) for answer in assignment.shown],
    }
