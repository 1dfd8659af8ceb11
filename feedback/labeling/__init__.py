"""What labelers are given to judge, and the page they do it on.

labelers       people who label: invited, logged in by password, screened
queues         what waits to be judged, in Redis: leases, overlap, priorities
selection      which prompts are worth labeling
known_answers  sets whose right order is known, to test people on
given          the records of what a labeler was given
assignments    what a labeler is given next
aftermath      what a judgement changes besides the log
sessions       a labeler's browser session: a signed cookie, a token for forms
guidelines     what labelers are asked to go by, edited by the operator
own_figures    what a labeler's page shows of their own work
tally          how much a labeler has done today
markdown       what a model wrote, as HTML that can do nothing

Sub-packages, each with a map of its own:

pages/         the labelers' pages: HTML forms, better with scripts; templates and scripts in web/

may import: feedback
"""
