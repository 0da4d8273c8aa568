"""Repeats one field of the input: ignores the model."""

import json
import sys

FIELD = "text"

for line in sys.stdin:
    item = json.loads(line)
    print(json.dumps({"id": item["id"], "output": item["input"][FIELD]}))
