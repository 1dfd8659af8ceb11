"""A round of moderation's classifier: what people corrected becomes its next version.

step      python -m training.moderation.step: one step of such a round in its own process
labels    the round's texts, frozen, and which are held out
fit       heads that learn from them: on from those that serve, or anew
evidence  measures the candidate beside what serves
gate      may it be published? pure
publish   it becomes a version, and every server serves it

may import: feedback, moderation, serving
"""
