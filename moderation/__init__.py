"""May this text pass? OpenAI's moderation API over a small classifier that runs on one core.

categories   OpenAI's thirteen categories, and the six that we score
policy       which scores flag or block a text (pure)
settings     where the server is, its backend, bounds and thresholds (HONE_MODERATION_…)
client       the gateway's way to the server
cache        verdicts of texts that were judged a moment ago
wire         OpenAI's request and answer
metrics      the server's Prometheus counters
encoder      text to sentence vectors by onnxruntime
classifier   vectors to scores: one linear head per category (heads.json)
app          the server
dataset      labelled texts: read, split, embedded once
fitting      logistic regression and the figures that judge it
train        fits heads.json: python -m moderation.train
evaluate     judges the classifier on a file: python -m moderation.evaluate

Sub-package, with a map of its own:

backends/    what judges a text: our classifier, transformers, vLLM, a guard LLM, OpenAI

mappings/ holds what other models' labels mean. `categories`, `policy`, `settings`, `wire` and `client` load no
numpy and no onnxruntime.

may import: feedback
"""
