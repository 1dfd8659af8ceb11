"""The chat page at `/`: people ask, compare, vote, write better answers.

It uses the public API and nothing else. A visitor without an API key gets a token that speaks for this
one visitor only, on the account of the playground's key (serving.auth).

visits  who a visitor is: a signed cookie for a month, a signed token for an hour
pages   the page, its files, and POST /playground/session, which gives the token

may import: feedback, serving
"""
