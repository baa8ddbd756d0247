"""How a trial is trained: the evaluators and what they share."""
