"""Which tokens an answer rests on, what pruning lost, and what would have saved the answer: studies, step by step.

A study is asked for by the Why tab and answered with values for it. What crosses, both ways:

The page triggers `why.study(detail)`. detail: the fields of `page.view()` (method, budget, of, parameters, share,
about), and
    forced    {"in": [token, ...], "out": [token, ...]}, where any are
    what      "influence": leave each kept token out; "repair": put dropped ones back
    why       the page's number of this study; a later study, a question or `why.halt({"why": number})` ends it
    question  the question asked, if the box may hold another by now
The answers that a study is about are made where nobody made them yet; they and finished studies are kept for a while,
so asking again costs nothing.

The panel receives {"run", "about", "why", "study": text}; the text is JSON and holds everything so far, so that no
value can be missed:
    phase      waiting, loading, encoding, answering, influence, regain, repair; then done, stopped or failed
    text       what is at work, or what went wrong, in a sentence
    at, of     how much of this phase is done; of is 0 where nobody knows
    what, key  "influence" or "repair"; which selection, e.g. "fsr@64"
    scene      `Request.scene` of the selection: method, parameters, share, forced tokens, picture, question, model
    answer     {"text"}: with this selection; null until known, as all that follows
    unpruned   {"text"}: with all tokens
    base       log-probability of `answer` with this selection, in nats, end of text included
    influence  [{"token", "delta", "absorbed": [token, ...]}], grows: delta = log P(answer | all that is kept) minus
               log P(answer | all but this token), in nats; above 0 the token speaks for the answer. An anchor goes with
               the tokens that were merged into it
    regain     {"base", "regions": [{"tokens": [...], "gain"}], "tokens": [{"token", "gain"}]}, grows. base: log P of
               the *unpruned* answer with this selection; gain: by how much it rises with these tokens put back
    repair     {"found": bool, "tokens": [...], "answer", "forwards": n, "limit": n, "note": sentence,
               "kept_by": {"cdpruner": [token, ...], ...}}. tokens: of those found, put back in addition to what is
               kept; `answer` is the pruned answer with them, the unpruned one where found is true. forwards: prompts
               that the language model read for it. kept_by: which of `tokens` other methods keep at this budget
Influence and repair of the same selection are separate studies: a value of one leaves out the keys of the other.
"""
