"""The operator's pages at `/console`: plain HTML for a browser, with an API key of scope `admin`.

Figures come from Redis, where workers keep them; nothing is worked out on a request.

sessions  who is logged in: a signed cookie that names the key
pages     pages from web/, and their style sheet
labeling  /console/labeling: agreement, trust, conduct
router    all of its routes
charts    figures as places on a drawing: pure

may import: feedback, serving
"""
