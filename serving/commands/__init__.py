"""Groups of the command line that have no package of their own.

options   options that several commands share, and where the running stack is
keys      `hone keys …`
policies  `hone policies …`

may import: feedback, serving
"""
