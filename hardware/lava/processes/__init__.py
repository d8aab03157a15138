"""Lava Processes of our own and nothing else: Lava's compiler executes every module beside a Process."""
