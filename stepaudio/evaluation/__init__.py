"""Measuring edits: metrics, judges, the edit benchmark and its reports.

- ``contracts``: what every metric and judge reads and says.
- ``words``, ``recognizer``, ``normalize``: word and character error rates, Whisper, texts made
  comparable.
- ``speakers``: similarity to the source and margins against other speakers.
- ``quality``: DNSMOS and DistillMOS.
- ``prosody``, ``pitch``, ``frames``: melody, voicing, level and tempo; F0 trackers; loudness.
- ``silence``: silence and how much of what could be removed is left.
- ``boundary``: jumps where two pieces were joined.
- ``bootstrap``: 95 % intervals by resampling speakers.
- ``extras``: optional packages, found or named as missing.
- ``llm_judge``, ``llm_endpoints``, ``judge_prompts``: an audio language model as a judge, the two
  wire formats, the questions.
- ``clip_classifier``, ``statistics_classifier``, ``voice_statistics``: small classifiers, of sounds
  over frames and of emotions over one vector, and that vector.
- ``confusion``, ``classifier_judge``: how far a classifier can be trusted, and the judge of both.
- ``event_judge``: inserted sounds and whether they are in their place.
- ``style_judge``, ``envelope``: styles by rule against the source; how far formants moved.
- ``benchmark_data``, ``recordings``, ``selection``: rows of the edit benchmark, recordings in their
  place, and which of them to run.
- ``edit_benchmark``, ``workers``, ``systems``: the run, in several processes; what is measured.
- ``registry``, ``measuring``: metrics and judges by name, and at work on a run.
- ``scoring``, ``gains``, ``summary``: what counts as success, what an edit adds to the codec's own
  doing, and tables of both.
- ``card``, ``card_page``: the model card, measured and written.
- ``card_sections``, ``card_measures``, ``card_numbers``, ``card_figures``: its sections, the
  figures of each, how they are computed, and their targets; ``card_slices``: for whom it works.
- ``card_inputs``, ``card_sentences``, ``mixing``: what it is measured on; recordings made worse.
- ``report``, ``report_page``, ``report_labels``, ``report_numbers``, ``report_plots``: files,
  pages, their tables by label, how numbers are written, and pictures.
"""

from __future__ import annotations

from stepaudio.evaluation.contracts import Judge, Metric, ModelId, Sample, Verdict

__all__ = ["Judge", "Metric", "ModelId", "Sample", "Verdict"]
