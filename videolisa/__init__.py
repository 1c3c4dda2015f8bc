"""VideoLISA: sampling, processor, model, checkpoints."""
