"""The error tree.

HoneError
├── BadRequest            400   malformed body, unknown field
│   └── ContentBlocked    400   moderation refused the prompt (never retried by clients)
├── Unauthorized          401   no key, wrong key
├── Forbidden             403   the key lacks the scope
├── NotFound              404   unknown model, completion, round; another tenant's id
├── Conflict              409   the same thing is being done by somebody else
│   └── InProgress        409   this very request is being answered; ask again (clients retry)
├── TooLarge              413   body over the limit
├── Unprocessable         422   well formed, but it cannot be true (a ranking that misses a
candidate)
├── TooManyRequests       429   a limit of this key
├── Refused               409   a checkpoint that must not be loaded; the running version goes on
└── Unavailable           503   engine, Redis or moderation away; says when to come back
"""

from __future__ import annotations

from typing import Any, ClassVar


class HoneError(Exception):
    """An error a person can act on. `message` says what to do; `param` names the field."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.error_code = code if code is not None else self.code
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """OpenAI's error shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.error_code,
            }
        }

    def headers(self) -> dict[str, str]:
        """`retry-after` where known; `x-should-retry` for the OpenAI client's retry loop."""
        headers = {"x-should-retry": "true" if self.retry else "false"}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after_s)))
        return headers


class BadRequest(HoneError):
    status = 400
    type = "invalid_request_error"


class ContentBlocked(BadRequest):
    code = "content_policy_violation"


class Unauthorized(HoneError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(HoneError):
    status = 403
    type = "permission_error"
    code = "insufficient_scope"


class NotFound(HoneError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class Conflict(HoneError):
    status = 409
    type = "conflict_error"
    code = "conflict"


class InProgress(Conflict):
    code = "in_progress"
    retry = True


class TooLarge(HoneError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class Unprocessable(HoneError):
    status = 422
    type = "invalid_request_error"
    code = "unprocessable"


class TooManyRequests(HoneError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry = True


class Refused(HoneError):
    status = 409
    type = "policy_error"
    code = "policy_refused"


class Unavailable(HoneError):
    status = 503
    type = "service_unavailable_error"
    code = "service_unavailable"
    retry = True
