"""The registry made anew from the folders, where Redis was lost.

found    versions on disk, each whole or not, gated or not; the numbers that were given out
rounds   the states of rounds, as their folders tell them
told     what the log, or what is left of it, says of numbers and of what was live
plan     what is to be written, or why nothing may be: pure
apply    written in one step, over a registry that nobody changed meanwhile

may import: moderation, feedback
"""
