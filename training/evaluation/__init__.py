"""`hone evaluate`: the paper's evaluation of policies, side by side (RECIPE.md 1, "Evaluation").

commands      hone evaluate
suite         the main flow: data, answers, log-probabilities, judges
materials     the files that policies are evaluated on
store         what was measured so far: a run that was cut off goes on
measures      what is measured, a value per unit; how two policies differ on it: pure
choices       probabilities and entropy of texts to choose from: pure
words         how alike two texts are: pure
truthfulqa    answers, and multiple choice
toxicity      RealToxicityPrompts under three instructions, by our moderation model
bias          Winogender and CrowS-Pairs, in bits
judges        who answers better: an independent reward model, and people
public_tasks  question answering, reading and summarising by lm-eval; tasks/*.yaml
answering     answers over HTTP, of an engine or through the gateway
endpoints     a gateway, or an engine for as long as it is asked
likelihood    log-probabilities by the trainer's forward pass
policies      a version, an alias, a folder: what was asked for
notes         what the figures are, and are not
report        the table, as JSON and as Markdown: pure
charts        its rows as places on a drawing: pure
page          the report as one HTML page; page.html

A gate takes `truthfulqa`, `toxicity`, `bias` and `judges` as they are: each takes what answers or scores as a
function, and `measures.regressions` says how much worse a candidate is.

may import: feedback, moderation, serving, training
"""
