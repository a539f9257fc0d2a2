"""Prompts: artefacts, states, manifests, and what is known of how they answer."""
