"""A stand-in for the moderation server: OpenAI's shapes, and one word that is flagged."""

from __future__ import annotations

from aiohttp import web

from feedback.errors import HoneError
from moderation import wire
from moderation.categories import CATEGORIES
from tests.serving.fake_engine import Served

MODEL = "fake-moderation"
SCORED = ("hate", "sexual", "violence")


class FakeModeration(Served):
    """Flags every text that holds `word`, as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.is_away = False
        self.away_after: int | None = None  # texts
        self.drop_next = 0  # requests whose connection is closed without an answer
        self.word = "attack"
        self.category = "violence"  # of the word

    def routes(self) -> None:
        self.app.router.add_post("/v1/moderations", self._moderations)
        self.app.router.add_get("/v1/moderations/categories", self._categories)
        self.app.router.add_get("/healthz", self._healthz)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, status=503 if self.is_away else 200)

    async def _categories(self, request: web.Request) -> web.Response:
        data = [
            {"id": name, "scored": name in SCORED, "threshold": 0.5 if name in SCORED else None}
            for name in CATEGORIES
        ]
        return web.json_response({"object": "list", "model": MODEL, "data": data})

    async def _moderations(self, request: web.Request) -> web.Response:
        if self.drop_next:
            self.drop_next -= 1
            assert request.transport is not None
            request.transport.close()
        if self.is_away or (self.away_after is not None and len(self.inputs) >= self.away_after):
            body = {"error": {"message": "away", "type": "x", "param": None, "code": None}}
            return web.json_response(body, status=503)
        try:
            asked = wire.parse(await request.read())
            texts = wire.texts(asked, max_inputs=64, max_chars=10**6)
            shape = wire.shape(asked.model, own=MODEL)
        except HoneError as error:
            return web.json_response(error.body(), status=error.status)
        self.inputs.extend(texts)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        results = []
        for text in texts:
            score = 0.99 if self.word in text else 0.01
            scores = {**dict.fromkeys(SCORED, 0.0), self.category: score}
            flagged = [self.category] if score > 0.5 else []
            results.append(wire.result(scores, flagged=flagged, shape=shape))
        return web.json_response(wire.answer(results, model=MODEL))
