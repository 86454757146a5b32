"""An OpenAI-compatible endpoint that plays all models of a construction by MIS-mini's grammar; no model takes part."""
