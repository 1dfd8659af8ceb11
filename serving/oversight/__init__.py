"""What an operator sees and does, for `/admin` and for the console alike: each by one function.

Reads are bounded, whatever is in the store: a page of the log, the newest rounds, the end of a file.

learning       paused or not, and how many judgements no round has seen
rounds         rounds as the workers wrote them; asked for, cancelled, gone on with, overridden
round_files    what a round wrote on disk: curves, reports, logs
gates          what the gate said, with or without people's texts
moderation     versions of moderation's classifier: which serves, promoted, rolled back
policies       versions, what they came from, and their cards
backlog        what waits for labelers, and how much they do in an hour
vitals         an engine's KV cache and tokens a second, out of its own metrics
engines        the engines as a table: what each has, since when, how fast it came
audit          who changed what, newest first, into the archive
configuration  settings as they are, secrets masked
overview       the state of everything on one page
shapes         answers of these routes for the OpenAPI document
routes         all of it as JSON under /admin
moderation_routes  the same of moderation's versions

may import: feedback, serving
"""
