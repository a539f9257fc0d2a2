"""From what people flagged to a judged candidate."""
