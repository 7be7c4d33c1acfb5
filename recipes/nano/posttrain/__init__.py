"""The large-margin experiment at nano scale: does the margin matter, does reinforcement help?

What is asked and answered: :mod:`~recipes.nano.posttrain.plan` (sizes and settings),
:mod:`~recipes.nano.posttrain.material` (pairs, margins, who is held out),
:mod:`~recipes.nano.posttrain.answers` (rated answers, preferences, prompts),
:mod:`~recipes.nano.posttrain.row_files` (all of it as files).

What is done: :mod:`~recipes.nano.posttrain.trainings` (settings files of ``stepaudio train``),
:mod:`~recipes.nano.posttrain.jobs` (several at once), :mod:`~recipes.nano.posttrain.stages` (in
which order).

What is measured: :mod:`~recipes.nano.posttrain.token_measures` (without sound),
:mod:`~recipes.nano.posttrain.inputs` and :mod:`~recipes.nano.posttrain.listening` (with sound),
:mod:`~recipes.nano.posttrain.speed` (tokens per second), :mod:`~recipes.nano.posttrain.result` (all
numbers), :mod:`~recipes.nano.posttrain.page` and :mod:`~recipes.nano.posttrain.page_texts` (for
people).
"""
