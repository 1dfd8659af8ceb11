"""How good the judgements are, and whom to believe. All but `kept` load numpy, which a gateway never does.

judged     a judgement as quality sees it; the last word of each person, read from the log
intervals  how sure a figure is: bootstraps over units that belong together
agreement  pairwise agreement and Krippendorff's alpha: overall, by task, by week, by labeler
conduct    too fast, position bias, straight-lining, outliers
trust      what each labeler's word weighs, 0 to 1
report     all figures, for the operator and for each labeler; the weights of a snapshot
own        every labeler's own figures and the report, kept for the pages that show them
kept       the report as it was kept
plots      the report as pictures

may import: feedback
"""
