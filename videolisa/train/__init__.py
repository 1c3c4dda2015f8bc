"""Training: ``engine`` runs stages on one process or many, ``record`` keeps what happened, ``mixture`` draws the data,
``recipes`` holds the presets. What a stage computes lies beside the model it is for."""
