"""A new version answers a share of the people, until what they say and meet decides about it.

state     a canary's records, and of those that ended
store     begun, changed, ended in the registry, each in one step
people    whom a canary answers: pure
figures   what is counted of it
count     figures out of the log
evidence  how strongly figures speak against chance: pure
decide    promote, hold or roll back: pure
watch     counts what the log says, does what the verdict says
steering  what an operator does with it
shown     as the API shows it
routes    /admin/canary, and its beginning

may import: feedback, serving
"""
