"""The twenty bAbI tasks, one network each: measuring, shipping and reporting what was trained."""
