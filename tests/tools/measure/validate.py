#!/usr/bin/env python3
"""validate.py SCHEMA DOCUMENT...: checks JSON documents against a schema, with Debian's python3-jsonschema.

Prints one line a document: "ok", or "no: " and what is wrong where. Exit code 0 unless it could not check.
"""
import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    with open(name, encoding="utf-8") as file:
        document = json.load(file)
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    print("ok" if error is None else "no: " + error.json_path + ": " + error.message.replace("\n", " ")[:200])
