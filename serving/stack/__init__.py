"""`hone up`: the parts of a stack on one machine, started, watched, ended.

local       `hone up`: everything on this machine, in one terminal
preflight   what must be true before anything starts; every refusal names the cure
model       the model served first: unpacked from a PyPI package, downloaded, or a folder as it is
parts       the processes of a stack: commands, environment, ports, secrets
supervisor  starts parts in the order of their needs, restarts those that die
probes      is a part ready? Small questions over a plain socket
tether      ends every process of a stack once `hone up` is gone, however it went
dashboard   what `hone up` shows: a live table, or one line per change
doctor      `hone doctor`: one finding a line, each with its fix

may import: moderation, feedback, serving
"""
