"""Holds JSON bodies against the typed models of Azure's own Python packages.

Input, on stdin: {"wheels": [path, ...], "checks": [{"name", "module", "model", "body", "allow"}, ...]},
where module is the folder of a wheel that holds _models_py3.py, such as azure/mgmt/storage/models.
Output: one line per problem, but for those that end as "allow" says. Nothing of a wheel is run: its source is parsed.
"""

import ast
import json
import re
import sys
import zipfile


class Module:
    """The classes and enums of one models folder."""

    def __init__(self, classes, enums):
        self.classes = classes  # name -> Class
        self.enums = enums  # name -> set of values


class Class:
    def __init__(self, node):
        self.bases = [
            b.id if isinstance(b, ast.Name) else b.attr for b in node.bases if isinstance(b, (ast.Name, ast.Attribute))
        ]
        self.values = {}
        self.enums = dict(re.findall(r":vartype (\w+): str or\s+~[\w.]+\.(\w+)", ast.get_docstring(node) or ""))
        for item in ast.walk(node):
            target = getattr(item, "target", None) or (getattr(item, "targets", None) or [None])[0]
            if isinstance(item, (ast.Assign, ast.AnnAssign)):
                name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
                if name in ("_attribute_map", "_validation", "_subtype_map"):
                    self.values[name] = ast.literal_eval(item.value)


def load(wheels, folder):
    classes, enums = {}, {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[0] != folder:
                    continue
                if not name.endswith(("_models_py3.py", "_enums.py")):
                    continue
                for node in ast.parse(archive.read(name)).body:
                    if not isinstance(node, ast.ClassDef):
                        continue
                    if name.endswith("_enums.py"):
                        enums[node.name] = {i.value.value for i in node.body if isinstance(i, ast.Assign)}
                    else:
                        classes[node.name] = Class(node)
    if not classes:
        sys.exit("no models in " + folder)
    return Module(classes, enums)


def merged(module, name, attribute):
    """A class's attribute with those of its bases below it."""
    c = module.classes.get(name)
    if c is None:
        return {}
    out = {}
    for base in c.bases:
        out.update(merged(module, base, attribute))
    out.update(c.values.get(attribute) or {})
    return out


TYPES = {
    "str": str,
    "iso-8601": str,
    "duration": str,
    "rfc-1123": str,
    "date": str,
    "base64": str,
    "bytearray": str,
    "bool": bool,
    "object": object,
    "unix-time": int,
    "time": str,
}
FORMS = {
    "iso-8601": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    "duration": r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?",
    "date": r"\d{4}-\d\d-\d\d",
}


class Checker:
    def __init__(self, module, report):
        self.module, self.report = module, report

    def value(self, kind, value, path, enum=None):
        if value is None:
            return
        if kind[0] in "[{":
            inner = kind[1:-1]
            if not isinstance(value, list if kind[0] == "[" else dict):
                self.report(path, f"is no {kind}: {value!r}")
                return
            for key, item in enumerate(value) if kind[0] == "[" else value.items():
                self.value(inner, item, f"{path}[{key}]")
        elif kind in ("int", "long", "float"):
            if isinstance(value, bool) or not isinstance(value, int if kind != "float" else (int, float)):
                self.report(path, f"is no {kind}: {value!r}")
        elif kind in TYPES:
            if not isinstance(value, TYPES[kind]) or kind in FORMS and not re.fullmatch(FORMS[kind], value):
                self.report(path, f"is no {kind}: {value!r}")
            elif enum and value not in self.module.enums.get(enum, {value}):
                self.report(path, f"is {value!r}, which {enum} has not: {sorted(self.module.enums[enum])}")
        elif kind in self.module.enums:
            self.value("str", value, path, kind)
        elif kind in self.module.classes:
            self.model(kind, value, path)
        else:
            self.report(path, f"is of a type that the check does not know: {kind}")

    def model(self, name, value, path):
        if not isinstance(value, dict):
            self.report(path, f"is no {name}: {value!r}")
            return
        fields = merged(self.module, name, "_attribute_map")
        for attribute, kinds in merged(self.module, name, "_subtype_map").items():
            found = value.get(fields[attribute]["key"])
            if found is None or found not in kinds:
                if name not in self.discriminated(attribute):
                    self.report(path, f"has {attribute} {found!r}, which {name} has not: {sorted(kinds)}")
                continue
            if kinds[found] != name:
                self.model(kinds[found], value, path)
                return
        self.fields(name, fields, value, path)

    def discriminated(self, attribute):
        """Classes at the end of a line of subtypes."""
        return {n for n, c in self.module.classes.items() if attribute not in (c.values.get("_subtype_map") or {})}

    def fields(self, name, fields, value, path):
        tree, required = {}, merged(self.module, name, "_validation")
        enums = {}
        for c in self.lineage(name):
            enums.update(self.module.classes[c].enums)
        for attribute, field in fields.items():
            parts = [p.replace("\\.", ".") for p in re.split(r"(?<!\\)\.", field["key"])]
            at, here = tree, value
            for part in parts[:-1]:
                at = at.setdefault(part, {})
                here = here.get(part) if isinstance(here, dict) else None
            at[parts[-1]] = (field["type"], enums.get(attribute))
            missing = not isinstance(here, dict) or here.get(parts[-1]) is None
            if required.get(attribute, {}).get("required") and missing:
                self.report(f"{path}.{'.'.join(parts)}", "is missing")
        self.walk(tree, value, path, name)

    def lineage(self, name):
        if name not in self.module.classes:
            return []
        return [x for b in self.module.classes[name].bases for x in self.lineage(b)] + [name]

    def walk(self, tree, value, path, name):
        if not isinstance(value, dict):
            if value is not None:
                self.report(path, f"is no object: {value!r}")
            return
        for key, item in value.items():
            known = tree.get(key)
            if known is None:
                if "" not in tree:
                    self.report(f"{path}.{key}", f"is not known to {name}")
            elif isinstance(known, dict):
                self.walk(known, item, f"{path}.{key}", name)
            else:
                self.value(known[0], item, f"{path}.{key}", known[1])


def main():
    task = json.load(sys.stdin)
    modules = {}
    for check in task["checks"]:
        folder = check["module"]
        if folder not in modules:
            modules[folder] = load(task["wheels"], folder)
        label = f"{check['name']} ({folder} {check['model']})"
        if check["model"] not in modules[folder].classes:
            print(f"{label}: there is no such model")
            continue

        def report(path, text, label=label, allow=tuple(check["allow"])):
            if not f"{path} {text}".endswith(allow):
                print(f"{label}: {path} {text}")

        Checker(modules[folder], report).model(check["model"], check["body"], "")


main()
