"""Settings as they are shown."""

from __future__ import annotations

from feedback.settings import FeedbackSettings
from serving.oversight.configuration import shown


def test_who_logs_in_by_a_url_is_masked() -> None:
    settings = FeedbackSettings(
        redis_url="rediss://hone:hunter2@redis.example:6379/0",
        archive_options={"secret": "hunter3"},
    )
    rows = {row["variable"]: row for row in shown(settings)}
    assert "hunter" not in str(rows)
    assert rows["HONE_FEEDBACK_REDIS_URL"]["value"] == "rediss://••••••••@redis.example:6379/0"
    assert rows["HONE_FEEDBACK_ARCHIVE_OPTIONS"]["value"] == "••••••••"
    assert not rows["HONE_FEEDBACK_REDIS_URL"]["is_default"]
    assert rows["HONE_FEEDBACK_LEASE_S"]["is_default"]
