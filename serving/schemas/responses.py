"""Answers for the OpenAPI page. Nothing validates with them: an answer is made once and sent.

A class may gain fields elsewhere first; what it names here is always there, unless it has a default.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, RootModel


class ErrorDetail(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None  # the field or query parameter
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error."""

    error: ErrorDetail


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CalledFunction(BaseModel):
    """Which function, with which arguments (JSON as text)."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """The model wants a tool's result."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None


class TopLogprob(BaseModel):
    """A token that could have stood here."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Where `logprobs` was asked for."""

    content: list[TokenLogprob] | None


class Filtered(BaseModel):
    """A category that withheld a candidate."""

    filtered: Literal[True]


class ChatModeration(BaseModel):
    """What moderation says: where it was asked for, and where it was away. Each side holds results, one a
    text, or an error."""

    input: dict[str, Any]
    output: dict[str, Any]


class ChatChoice(BaseModel):
    """One candidate. Withheld by moderation: empty, with `finish_reason` content_filter."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    content_filter_results: dict[str, Filtered] | None = None  # of a withheld one, by category


class ChatCompletion(BaseModel):
    """An answer. `model` is the concrete version that made it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage | None
    metadata: dict[str, str] | None = None  # of a stored one
    moderation: ChatModeration | None = None


class TextLogprobs(BaseModel):
    """Where `logprobs` was asked for."""

    tokens: list[str]
    token_logprobs: list[float | None]


class TextChoice(BaseModel):
    """One candidate."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str | None
    content_filter_results: dict[str, Filtered] | None = None


class TextCompletion(BaseModel):
    """A text, continued."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None
    moderation: ChatModeration | None = None  # where it was away


class CandidateSet(RootModel[ChatCompletion | TextCompletion]):
    """Answers to a stored prompt, to be ranked: chat or text, as the stored completion is."""


class Page(BaseModel):
    """OpenAI's list: the next page is asked for with `after=<last_id>`."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ChatCompletionPage(Page):
    """Stored completions."""

    data: list[ChatCompletion]


class StoredMessage(BaseModel):
    """A message that a stored completion answers."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None
    name: str | None


class StoredMessagePage(Page):
    """The messages of one stored completion."""

    data: list[StoredMessage]


class ChatCompletionDeleted(BaseModel):
    """It is gone."""

    id: str
    object: Literal["chat.completion.deleted"]
    deleted: Literal[True]


class ModelPolicy(BaseModel):
    """The version behind a model's name."""

    version: str
    digest: str
    parent: str | None


class ModelCategory(BaseModel):
    """Whether a category is judged, and from which score it is flagged."""

    scored: bool
    threshold: float | None


class ModelModeration(BaseModel):
    """What the moderation model can do."""

    categories: dict[str, ModelCategory]


class Model(BaseModel):
    """What `model` may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    policy: ModelPolicy | None = None  # of a policy
    moderation: ModelModeration | None = None  # of the moderation model


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class ModerationResult(BaseModel):
    """One text."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class Moderations(BaseModel):
    """One result per text."""

    id: str
    model: str
    results: list[ModerationResult]


class FeedbackReceived(BaseModel):
    """The judgement is durable."""

    id: str
    object: Literal["feedback"]
    created: int
    form: str
    labeler: str
    replaces: str | None  # the same person's judgement before this one on the same answers


class FeedbackRetracted(BaseModel):
    """The judgement counts no more."""

    id: str
    object: Literal["feedback.retracted"]
    retraction: str  # id of the event that says so


class LeaseRenewed(BaseModel):
    """The assignment stays with its labeler."""

    id: str
    object: Literal["assignment"]
    lease_ends: int  # unix seconds


class FeedbackShown(FeedbackReceived):
    """A judgement, as its author sees it."""

    completion_ids: list[str]
    body: dict[str, Any]


class FeedbackWithHistory(FeedbackShown):
    """A judgement, and those that it replaced, newest first."""

    history: list[FeedbackShown]


class FeedbackPage(Page):
    """What the caller said, newest first."""

    data: list[FeedbackShown]


class TensorZeroReceived(BaseModel):
    """The judgement is durable, unless it was a dry run."""

    feedback_id: str  # a UUID


class CandidateShown(BaseModel):
    """An answer to judge."""

    completion_id: str
    index: int
    text: str


class AssignmentShown(BaseModel):
    """A piece of work, leased to one labeler."""

    id: str
    object: Literal["assignment"]
    task: Literal["rank", "compare", "rate", "demonstrate"]
    kind: Literal["answer", "plain", "few_shot", "user_based"]
    completion_id: str | None  # null: the labeler thinks of a prompt
    lease_ends: int  # unix seconds
    messages: list[dict[str, Any]]
    candidates: list[CandidateShown]
