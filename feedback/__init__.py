"""What people asked, were answered, and said about it; how it is kept.

errors       the error tree every package raises from: HTTP status, OpenAI code, what to do
settings     where Redis and the outbox are (HONE_FEEDBACK_…)
keys         every Redis key of hone, in one place
events       the frozen records of the log, their ids, and how an old schema is read
json_numbers  numbers as JSON means them, for pydantic
judgements   rankings, comparisons, ratings, demonstrations: shapes that cannot hold nonsense
corrections  what moderation should have said of a text
connection   Redis clients with the time-outs that blocking reads and slow fsyncs need
eventlog     append once, look up, read in order (Redis Streams)
removal      an event leaves Redis: erased, or archived
stored       stored chat completions: paged by filters, metadata replaced, erased for good
group_commit  events that come during a write are written together, next
outbox       events kept in SQLite while Redis is away
journal      the gateway's way to the log: Redis, else the outbox; drains in order, exactly once
history      the log as a whole: archive and Redis
callers      who sends a judgement, and what they may judge
ranks        the order that a judgement states
tail         the newest events, and those that come
intake       a judgement is checked against what it is about, and put into the log, once
api          the routes /v1/feedback/*
own          what a caller said: a list, and one with its history
html         pages made on the server, and the headers every page has
tensorzero   POST /feedback in TensorZero's shape

Sub-packages, each with a map of its own:

formats/       datasets from the log, judgements of others into it
archive/       what Redis no longer holds, as Parquet
erasure/       an end user's texts, removed for good
labeling/      what labelers are given to judge, and the page they do it on
quality/       how good the judgements are, and whom to believe
snapshots/     a frozen dataset of everything said up to one moment

may import: nothing of ours
"""
