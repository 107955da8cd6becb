// Reads the typed models of one of Azure's npm packages and writes them in the form that wheel_models.py describes.
//
// Arguments: the unpacked package, and the folder in it that holds mappers.js or models.js beside its *.d.ts.
//
// Two generations are known. Mappers are data: they are loaded, with nothing else of the package. Newer packages have
// functions that deserialise, of one form; these are parsed, and the types are those of the interfaces.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(process.argv[2], process.argv[3]);
const mappers = existsSync(join(folder, "mappers.js"));
const declared = declarations(readFileSync(join(folder, mappers ? "index.d.ts" : "models.d.ts"), "utf8"));
const classes = {};
const enums = { ...declared.enums };
if (mappers) await fromMappers();
else fromFunctions(readFileSync(join(folder, "models.js"), "utf8"));
if (Object.keys(classes).length === 0) throw new Error("no models in " + folder);
process.stdout.write(JSON.stringify({ classes, enums }));

/** The interfaces, enums and functions that a .d.ts file declares. */
function declarations(text) {
  text = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
  const out = { interfaces: {}, enums: {}, returns: {} };
  for (const [, name, parents, body] of text.matchAll(/interface (\w+)(?: extends ([\w, ]+?))? ?\{(?:\}|\n([\s\S]*?)^\})/gm)) {
    const fields = {};
    for (const [, , key, missing, kind] of (body ?? "").matchAll(/^(?:    |  |\t)(readonly )?["']?([\w$.@-]+)["']?(\??): ([^;]+);/gm)) {
      fields[key] = { kind: kind.trim(), required: missing === "" };
    }
    out.interfaces[name] = { parents: parents?.split(",").map((p) => p.trim()) ?? [], fields };
  }
  for (const [, name, body] of text.matchAll(/enum Known(\w+) \{([\s\S]*?)\n\}/g)) {
    out.enums[name] = [...body.matchAll(/= "([^"]*)"/g)].map((m) => m[1]);
  }
  for (const [, name, kind] of text.matchAll(/type (\w+) = ([^;]+);/g)) {
    const values = [...kind.matchAll(/"([^"]*)"/g)].map((m) => m[1]);
    if (values.length > 0 && !(name in out.enums)) out.enums[name] = values;
  }
  for (const [, name, kind] of text.matchAll(/function (\w+)\(\w+: any\): (\w+);/g)) out.returns[name] = kind;
  return out;
}

/** A field of an interface or of one it extends. */
function field(name, key) {
  const found = declared.interfaces[name];
  if (!found) return undefined;
  if (key in found.fields) return found.fields[key];
  for (const parent of found.parents) {
    const inherited = field(parent, key);
    if (inherited) return inherited;
  }
  return undefined;
}

/** The first generation. */
async function fromMappers() {
  const source = readFileSync(join(folder, "mappers.js"));
  const all = await import("data:text/javascript;base64," + source.toString("base64"));
  const { discriminators = {}, ...models } = all;
  for (const mapper of Object.values(models)) {
    const type = mapper.type;
    if (type?.name !== "Composite") continue;
    const name = type.className;
    const out = (classes[name] = { fields: {} });
    for (const [key, property] of Object.entries(type.modelProperties ?? {})) mapped(name, key, property);
    if (type.additionalProperties) out.fields[""] = { type: "any", required: false };
    if (!type.polymorphicDiscriminator) continue;
    out.by = type.polymorphicDiscriminator.serializedName;
    out.kinds = {}; // they are found below the class itself, or below the first one of its line
    for (const [key, kind] of Object.entries(discriminators)) {
      const [parent, value] = key.split(".");
      if (value !== undefined && (parent === name || parent === type.uberParent)) out.kinds[value] = kind.type.className;
    }
  }
}

function mapped(name, key, property) {
  const parts = property.serializedName.split(/(?<!\\)\./).map((p) => p.replaceAll("\\.", "."));
  let at = name;
  for (const part of parts.slice(0, -1)) {
    const inner = at + "." + part;
    const holder = (classes[at].fields[part] ??= { type: "@" + inner, required: false });
    holder.required ||= property.required === true;
    at = inner;
    classes[at] ??= { fields: {} };
  }
  const alias = field(name, key)?.kind.match(/\w+/)?.[0];
  classes[at].fields[parts.at(-1)] = { type: mapperKind(property.type, alias), required: property.required === true };
}

function mapperKind(type, alias) {
  switch (type.name) {
    case "Composite":
      return "@" + type.className;
    case "Sequence":
      return "[]" + mapperKind(type.element.type, alias);
    case "Dictionary":
      return "{}" + mapperKind(type.value.type, alias);
    case "Enum": {
      const name = alias in enums ? alias : type.allowedValues.join("|");
      enums[name] ??= type.allowedValues;
      return "=" + name;
    }
    case "String":
      return alias in enums ? "=" + alias : "str";
    default:
      return (
        { Number: "float", Boolean: "bool", DateTime: "time", Date: "date", TimeSpan: "duration", any: "any", Uuid: "str", DateTimeRfc1123: "any", UnixTime: "int", ByteArray: "bytes", Base64Url: "bytes" }[type.name] ?? "?" + type.name
      );
  }
}

/** The second generation. */
function fromFunctions(source) {
  const bodies = {};
  for (const [, name, body] of source.matchAll(/function (\w+)Deserializer\(item\) \{\s*return \{\n([\s\S]*?)\n\s*\};\s*\}/g)) {
    bodies[name] = body;
  }
  for (const name of Object.keys(bodies)) {
    const model = declared.returns[name + "Deserializer"];
    if (model) classes[model] = { fields: deserialised(bodies, name, model) };
  }
}

/** The fields that a function reads, with the types of those of an interface that it fills. */
function deserialised(bodies, name, model) {
  const fields = {};
  const indent = bodies[name].match(/^ */)[0];
  for (const entry of bodies[name].split(new RegExp("\\n" + indent + "(?=\\S)"))) {
    const wire = entry.match(/item\["([^"]+)"\]/)?.[1];
    const key = entry.match(/^\s*["']?([\w$.@-]+)["']?:/)?.[1];
    if (entry.trim().startsWith("...")) {
      const flat = entry.match(/(\w+)Deserializer\(/)[1];
      let inner = declared.returns[flat.replace(/^_/, "") + "Deserializer"];
      if (!inner || !(flat.replace(/^_/, "") in bodies)) {
        inner = `${model}.${wire}`;
        classes[inner] = { fields: deserialised(bodies, flat, model) };
      }
      fields[wire] = { type: "@" + inner, required: false };
    } else if (key && wire) {
      const found = field(model, key);
      fields[wire] = { type: found ? declaredKind(found.kind) : `?${model}.${key}`, required: found?.required ?? false };
    } else if (key) {
      fields[""] = { type: "any", required: false }; // the rest of the object
    }
  }
  return fields;
}

function declaredKind(kind) {
  kind = kind.replace(/ \| (null|undefined)$/, "");
  const plain = { string: "str", number: "float", boolean: "bool", Date: "time", any: "any", unknown: "any", Uint8Array: "bytes" }[kind];
  if (plain) return plain;
  const list = kind.match(/^(?:Array<(.+)>|(.+)\[\])$/);
  if (list) return "[]" + declaredKind((list[1] ?? list[2]).replace(/^\((.+)\)$/, "$1"));
  const record = kind.match(/^Record<string, (.+)>$/);
  if (record) return "{}" + declaredKind(record[1]);
  if (kind in enums) return "=" + kind;
  if (/^"[^"]*"( \| "[^"]*")*$/.test(kind)) {
    enums[kind] = [...kind.matchAll(/"([^"]*)"/g)].map((m) => m[1]);
    return "=" + kind;
  }
  return kind in declared.interfaces ? "@" + kind : "?" + kind;
}
