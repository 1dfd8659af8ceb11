"""`hone evaluate`: the paper's evaluation of policies, side by side (RECIPE.md 1, "Evaluation").

measures    what is measured, a value per unit; how two policies differ on it: pure
choices     probabilities and entropy of texts to choose from: pure
truthfulqa  answers, and multiple choice
toxicity    RealToxicityPrompts under three instructions, by our moderation model
bias        Winogender and CrowS-Pairs, in bits
judges      who answers better: an independent reward model, and people
answering   answers over HTTP, of an engine or through the gateway
likelihood  log-probabilities by the trainer's forward pass
policies    a version, an alias, a folder: what was asked for

A gate takes `truthfulqa`, `toxicity`, `bias` and `judges` as they are: each takes what answers or scores as a
function, and `measures.regressions` says how much worse a candidate is.

may import: feedback, moderation, serving, training
"""
