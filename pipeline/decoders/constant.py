"""Gives the same reply to everything: ignores the model."""

import json
import sys

REPLY = ""

for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "output": REPLY}))
