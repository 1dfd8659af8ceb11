"""What people asked, were answered, and said about it; how it is kept.

errors       the error tree every package raises from: HTTP status, OpenAI code, what to do
settings     where Redis and the outbox are (HONE_FEEDBACK_…)
keys         every Redis key of hone, in one place
events       the frozen records of the log, their ids, and how an old schema is read
json_numbers  numbers as JSON means them, for pydantic
judgements   rankings, comparisons, ratings, demonstrations: shapes that cannot hold nonsense
connection   Redis clients with the time-outs that blocking reads and slow fsyncs need
eventlog     append once, look up, read in order (Redis Streams)
stored       stored chat completions: paged by filters, metadata replaced, erased for good
group_commit  events that come during a write are written together, next
outbox       events kept in SQLite while Redis is away
journal      the gateway's way to the log: Redis, else the outbox; drains in order, exactly once
snapshot     a frozen dataset for one round: each judgement once
intake       a judgement is checked against what it is about, and put into the log, once
assignments  which candidate sets are shown to which labeler, leased for a while
api          the routes /v1/feedback/*
sessions     a labeler's browser session: a signed cookie, a token for forms
pages        the labeler's page, plain HTML forms

may import: nothing of ours
"""
