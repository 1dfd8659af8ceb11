"""Groups of the command line that have no package of their own.

options   options that several commands share, and where the running stack is
moderation  `hone moderation versions`, `promote`, `rollback`
keys      `hone keys …`
label     `hone label …`
correct   `hone label correct`
erase     `hone erase`
lineage   `hone lineage`
log       `hone log …`
model     `hone model …`
guidelines  `hone label guidelines`
policies  `hone policies …`
recover   `hone policies recover`, added to them
snapshots  `hone snapshot …`
oversight  `hone status`, `hone engines`, `hone audit`
data      `hone export`, `hone import`
label_stats  `hone label stats`

may import: feedback, serving
"""
