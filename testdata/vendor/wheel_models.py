"""Reads the typed models of one of Azure's Python packages and writes them as one JSON document.

Arguments: a wheel, and a folder in it that holds _models_py3.py or _models.py, such as azure/mgmt/storage/models.
Output: {"classes": {name: {"fields": {wire name: {"type", "required", "hidden"}}, "by": wire name, "kinds": {value: name}}},
"enums": {name: [value, ...]}}. A type is str, int, float, bool, any, time, date, duration, bytes, @class, =enum, or
[] or {} before another one. A hidden field is one of requests alone.

Two generations of models are known: those with an _attribute_map, and those whose fields are rest_field.
Nothing of a wheel is run: its source is parsed.
"""

import ast
import json
import re
import sys
import zipfile

MAPPED = {
    "iso-8601": "time",
    "rfc-1123": "any",
    "unix-time": "int",
    "bytearray": "bytes",
    "base64": "bytes",
    "object": "any",
    "long": "int",
    "JSON": "any",
    "datetime.datetime": "time",
    "datetime.date": "date",
    "datetime.timedelta": "duration",
    "Any": "any",
    "decimal.Decimal": "float",
}
PLAIN = {"str", "int", "float", "bool", "date", "duration", "time"}


class Folder:
    def __init__(self, wheel, folder):
        self.nodes, self.enums = {}, {}
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if name.rpartition("/")[0] != folder or not name.endswith(".py"):
                    continue
                for node in ast.parse(archive.read(name)).body:
                    if isinstance(node, ast.ClassDef):
                        self.take(name.rpartition("/")[2], node)
        if not self.nodes:
            sys.exit("no models in " + folder)

    def take(self, file, node):
        if file.endswith("_enums.py"):
            self.enums[node.name] = {
                i.targets[0].id: i.value.value
                for i in node.body
                if isinstance(i, ast.Assign) and isinstance(i.value, ast.Constant)
            }
        elif file == "_models_py3.py" or file == "_models.py" and node.name not in self.nodes:
            self.nodes[node.name] = node

    def bases(self, name):
        node = self.nodes.get(name)
        found = [b.id if isinstance(b, ast.Name) else getattr(b, "attr", "") for b in node.bases] if node else []
        return [b for b in found if b in self.nodes]

    def lineage(self, name):
        return [x for b in self.bases(name) for x in self.lineage(b)] + [name]

    def below(self, name):
        return [n for n in self.nodes if name in self.lineage(n) and n != name]

    def document(self):
        classes = {}
        for name in self.nodes:
            if any(values(self.nodes[c], "_attribute_map") is not None for c in self.lineage(name)):
                self.mapped(name, classes)
            else:
                classes[name] = self.described(name)
        return {"classes": classes, "enums": {n: list(v.values()) for n, v in self.enums.items()}}

    # Models with an _attribute_map.

    def mapped(self, name, classes):
        merged = {"_attribute_map": {}, "_validation": {}, "_subtype_map": {}}
        enums = {}
        for c in self.lineage(name):
            for key, into in merged.items():
                into.update(values(self.nodes[c], key) or {})
            text = ast.get_docstring(self.nodes[c]) or ""
            enums.update(re.findall(r":vartype (\w+): [^:]*?str or\s+~[\w.]+\.(\w+)", text))
        out = classes.setdefault(name, {"fields": {}})
        for attribute, field in merged["_attribute_map"].items():
            at, parts = name, [p.replace("\\.", ".") for p in re.split(r"(?<!\\)\.", field["key"])]
            required = bool(merged["_validation"].get(attribute, {}).get("required"))
            for part in parts[:-1]:
                inner = at + "." + part
                holder = classes[at]["fields"].setdefault(part, {"type": "@" + inner})
                holder["required"] = holder.get("required", False) or required
                classes.setdefault(inner, {"fields": {}})
                at = inner
            classes[at]["fields"][parts[-1]] = {
                "type": self.kind(field["type"], enums.get(attribute)),
                "required": required,
            }
        for attribute, kinds in (values(self.nodes[name], "_subtype_map") or {}).items():
            out["by"] = merged["_attribute_map"][attribute]["key"]
            out["kinds"] = self.kinds(kinds)

    def kinds(self, kinds):
        """The subtypes, with those of subtypes that are themselves parted."""
        out = dict(kinds)
        for name in kinds.values():
            for below in (values(self.nodes[name], "_subtype_map") or {}).values():
                out.update(self.kinds(below))
        return out

    def kind(self, text, enum):
        if text[0] in "[{":
            return text[0] + ("]" if text[0] == "[" else "}") + self.kind(text[1:-1], enum)
        if text in self.enums or text == "str" and enum in self.enums:
            return "=" + (text if text in self.enums else enum)
        if text in self.nodes:
            return "@" + text
        text = MAPPED.get(text, text)
        return text if text in PLAIN | {"any", "bytes"} else "?" + text

    # Models of rest_fields.

    def described(self, name):
        out = {"fields": {}}
        for c in self.lineage(name):
            for item in self.nodes[c].body:
                call = getattr(item, "value", None)
                if not isinstance(item, ast.AnnAssign) or not isinstance(call, ast.Call):
                    continue
                if getattr(call.func, "id", "") not in ("rest_field", "rest_discriminator"):
                    continue
                given = {k.arg: k.value for k in call.keywords}
                wire = given["name"].value if "name" in given else item.target.id
                optional, kind = self.annotation(item.annotation)
                visibility = [v.value for v in given["visibility"].elts] if "visibility" in given else ["read"]
                hidden = "read" not in visibility
                form = getattr(given.get("format"), "value", "")
                if form in ("rfc7231", "unix-timestamp"):
                    kind = {"rfc7231": "any", "unix-timestamp": "int"}[form]
                out["fields"][wire] = {
                    "type": kind,
                    "required": not (optional or hidden or "default" in given),
                    "hidden": hidden,
                }
                if call.func.id == "rest_discriminator" and kind == "str":
                    out["by"] = wire
        if "by" in out:
            out["kinds"] = {}
            for c in [name, *self.below(name)]:
                for keyword in self.nodes[c].keywords:
                    if keyword.arg == "discriminator":
                        out["kinds"][keyword.value.value] = c
        return out

    def annotation(self, node):
        """Whether it may be missing, and its type."""
        if isinstance(node, ast.Constant):
            return self.annotation(ast.parse(node.value, mode="eval").body)
        if isinstance(node, ast.Subscript):
            return self.subscript(ast.unparse(node.value), node.slice)
        text = ast.unparse(node)
        last = text.rpartition(".")[2]
        if last in self.nodes:
            return False, "@" + last
        if last in self.enums:
            return False, "=" + last
        text = MAPPED.get(text, text)
        return False, text if text in PLAIN | {"any", "bytes"} else "?" + text

    def subscript(self, outer, inner):
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Optional":
            return True, self.annotation(parts[0])[1]
        if outer == "Union":
            kinds = [self.annotation(p)[1] for p in parts]
            if len(kinds) == 2 and kinds[0] == "str" and kinds[1][0] == "=":
                return False, kinds[1]
            return False, "any"
        if outer in ("list", "List"):
            return False, "[]" + self.annotation(parts[0])[1]
        if outer in ("dict", "Dict"):
            return False, "{}" + self.annotation(parts[1])[1]
        if outer == "Literal":
            value = parts[0].value if isinstance(parts[0], ast.Constant) else None
            if value is None:
                value = self.enums[parts[0].value.id][parts[0].attr]
            self.enums.setdefault("Literal." + value, {value: value})
            return False, "=Literal." + value
        return False, "?" + outer


def values(node, name):
    """What a class says under a name, in its body or in its __init__, where a discriminator may be."""
    for item in ast.walk(node):
        if isinstance(item, (ast.Assign, ast.AnnAssign)):
            target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(item.value)
    return None


json.dump(Folder(sys.argv[1], sys.argv[2]).document(), sys.stdout)
