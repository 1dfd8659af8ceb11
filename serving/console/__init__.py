"""The operator's pages at `/console`: plain HTML for a browser, with an API key of scope `admin`, or `view`.

Pages are whole without scripts; live.js looks at them again every few seconds. What they show and do is
serving.oversight's, which /admin answers as JSON: nothing here that the API cannot do.

sessions  who is logged in: a signed cookie that names the key
screens   what all screens have in common; errors as pages
pages     pages from web/, their style sheet and scripts
router    all of its routes
overview  /console: what serves, what learns, what waits
policies  /console/policies: versions, and which came from which
policy    /console/policies/…: gate, curves, answers beside its parent's, card
canary    /console/canary: two versions side by side, what the tests say, hold and abort
rewards   /console/rewards: how well reward models judge
labeling  /console/labeling: agreement, trust, conduct
runs      /console/runs: rounds with steps, curves, logs
engines   /console/engines: what each has loaded, how busy it is
audit     /console/audit: who changed what, and why
configuration  /console/settings: settings and keys, masked
moderation  /console/moderation: versions of moderation's classifier
forms     forms that change something: who may, why, and back to a page
actions   what they change
charts    figures of the labeling page as places on a drawing: pure
frames    where figures lie on a drawing: pure
plots     curves and intervals, the same: pure
curves    which curves of a round are drawn first
hours     judgements an hour as bars: pure
lineage   /console/lineage: from an answer to the judgements behind it, and forward
lineage_graph  which version came from which, as a drawing: pure
words     how times and figures are said

may import: feedback, serving
"""
