"""`python -m fsr methods` and `python -m fsr models`: what can be given by name."""

from __future__ import annotations

import argparse

from fsr.cli.arguments import write_json


def run_methods(args: argparse.Namespace) -> int:
    from fsr.pruners import describe

    methods = describe()
    if args.json:
        return write_json(methods, args.json)
    width = 2 + max(len(method["name"]) for method in methods)
    for method in methods:
        needs = f"  needs {', '.join(method['requires'])}" if method["requires"] else ""
        print(f"{method['name']:<{width}}{method['label']}{needs}  {method['paper']}".rstrip())
        for one in method["parameters"]:
            print(f"{'':<{width}}{one['name']} = {one['default']}  {one.get('doc', '')}".rstrip())
    return 0


def run_models(args: argparse.Namespace) -> int:
    from fsr.vlm import available

    models = available()
    if args.json:
        return write_json(models, args.json)
    width = 2 + max(len(model["id"]) for model in models)
    for model in models:
        print(f"{model['id']:<{width}}{'here' if model['here'] else 'not here yet':<14}{model['title']}")
    print("Any directory with a LLaVA checkpoint of transformers works as well.")
    return 0
