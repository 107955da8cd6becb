"""Restore the scoring script of the published article from its text.

The text of the article that is at hand has lost the indentation of its code.
This tool finds the lines of the scoring script, gives each its place back, and
writes score_managedidentity.py, so that the article's own script can be run
without its sentences or its code being part of this project.

    python restore.py OUTPUT_FOLDER [--article article.txt]

Without --article the text is that of the environment variable LAPIS_ARTICLE, or
../shared/article.txt beside the repository. Exit codes: 0 written, 1 the text
does not hold the script as expected, 3 there is no such text.

Where a block ends cannot be told from such text, so these rules know how the
script is written:

- "def" and imports are at the top level, and close every block.
- Any other line that ends in a colon (if, else, with, for) opens a block of one
  statement.
- The lines of one statement are as deep as the brackets that are open.
- A comment is as deep as the statement after it.

What comes out is parsed, and compared with what each of the script's functions
is known to use. A text that the rules do not fit is an error, never a script
that does something else.
"""

import argparse
import ast
import io
import os
import re
import sys
import tokenize
from pathlib import Path

NAME = "score_managedidentity.py"
STEP = "    "
NO_TEXT = 3

# The script's functions in their order, and names that each of them must use.
EXPECTED = {
    "access_blob_storage_sdk": {"ManagedIdentityCredential", "BlobClient", "download_blob"},
    "get_token_rest": {"MSI_ENDPOINT", "MSI_SECRET", "UAI_CLIENT_ID", "raise_for_status", "access_token"},
    "access_blob_storage_rest": {"get_token_rest", "Authorization", "raise_for_status", "text"},
    "init": {"AZUREML_MODEL_DIR", "load", "access_blob_storage_rest", "access_blob_storage_sdk"},
    "run": {"loads", "predict", "tolist"},
}
AT_TOP = re.compile(r"(def|import|from)\b")


class NotTheScript(Exception):
    """The text does not hold the script, or not as this tool knows it."""


def find(text: str) -> list[str]:
    """Return the lines of the scoring script: from its imports to the return of run()."""
    lines = [line.strip() for line in text.splitlines()]
    run = next((i for i, line in enumerate(lines) if line.startswith("def run(")), None)
    if run is None:
        raise NotTheScript("the text has no line with def run(")
    start = run
    while start > 0 and (is_import(lines[start - 1]) or not is_import(lines[start])):
        start -= 1
    end = next((i for i in range(run, len(lines)) if lines[i].startswith("return")), None)
    if end is None:
        raise NotTheScript("run() has no return")
    return lines[start : end + 1]


def is_import(line: str) -> bool:
    return line.startswith(("import ", "from "))


def indent(lines: list[str]) -> str:
    """Give each line its depth back."""
    out: list[str] = []
    comments: list[str] = []  # wait for the depth of the statement after them
    in_function, branch = False, 0  # branch: open blocks of one statement
    at = 0
    while at < len(lines):
        statement, at = take_statement(lines, at)
        first = statement[0]
        if not first or first.startswith("#"):
            comments += filter(None, statement)
            continue
        if AT_TOP.match(first):
            in_function, branch = False, 0
        if first.startswith("def "):
            out += ["", ""]
        depth = in_function + branch
        out += [STEP * depth + comment for comment in comments]
        out += place(statement, depth)
        comments = []
        if first.startswith("def "):
            in_function = True
        elif statement[-1].endswith(":"):
            branch += 1
        else:
            branch = 0
    return "\n".join(out) + "\n"


def take_statement(lines: list[str], at: int) -> tuple[list[str], int]:
    """Take the lines of one statement, which goes on while a bracket or a text is open."""
    for end in range(at + 1, len(lines) + 1):
        if is_whole("\n".join(lines[at:end])):
            return lines[at:end], end
    raise NotTheScript(f"a bracket or a text is open to the end, from: {lines[at]}")


def is_whole(source: str) -> bool:
    try:
        for _ in tokenize.generate_tokens(io.StringIO(source).readline):
            pass
    except tokenize.TokenError:
        return False
    return True


def place(statement: list[str], depth: int) -> list[str]:
    """Indent a statement's lines: within brackets by the brackets that are open."""
    if statement[0].startswith(('"""', "'''")):
        return [STEP * depth + line for line in statement]
    placed, opened = [], 0
    for line in statement:
        closes = len(line) - len(line.lstrip(")]}"))
        placed.append(STEP * (depth + max(0, opened - closes)) + line)
        opened += bracket_balance(line)
    return placed


def bracket_balance(line: str) -> int:
    """Count brackets opened less those closed, without those in texts."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", line)
    return sum(map(bare.count, "([{")) - sum(map(bare.count, ")]}"))


def verify(source: str) -> None:
    """Parse the script and compare its functions with what they are known to hold."""
    try:
        tree = ast.parse(source, NAME)
    except SyntaxError as error:
        raise NotTheScript(f"line {error.lineno} of the restored script: {error.msg}") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if list(functions) != list(EXPECTED):
        raise NotTheScript(f"functions {list(functions)}, expected {list(EXPECTED)}")
    for name, names in EXPECTED.items():
        missing = names - words(functions[name])
        if missing:
            raise NotTheScript(f"{name}() does not mention {sorted(missing)}")
    stray = [n for n in tree.body if not isinstance(n, (ast.Import, ast.ImportFrom, ast.FunctionDef))]
    if stray:
        raise NotTheScript(f"line {stray[0].lineno} is outside of the functions")
    for function in functions.values():
        check_shape(function)


def check_shape(function: ast.FunctionDef) -> None:
    """Check that no statement slid into an if: a branch only assigns here."""
    for node in ast.walk(function):
        if isinstance(node, ast.If):
            for statement in node.body + node.orelse:
                if not isinstance(statement, ast.Assign):
                    raise NotTheScript(f"line {statement.lineno}: a branch of {function.name}() does more than assign")
            if len(node.body) != 1 or len(node.orelse) != 1:
                raise NotTheScript(f"line {node.lineno}: a branch of {function.name}() has more than one statement")
    returns = [n for n in ast.walk(function) if isinstance(n, ast.Return)]
    if returns and returns != [function.body[-1]]:
        raise NotTheScript(f"{function.name}() returns in its middle")


def words(function: ast.FunctionDef) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def restore(text: str) -> str:
    source = indent(find(text))
    verify(source)
    return source


def article_path() -> Path:
    """Return where the text is: LAPIS_ARTICLE, else beside the repository."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("LAPIS_ARTICLE") or root.parent / "shared" / "article.txt")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder to write the script into")
    parser.add_argument("--article", type=Path, default=article_path(), help="text of the article")
    options = parser.parse_args()
    try:
        text = options.article.read_text(encoding="utf-8")
    except FileNotFoundError:
        print(f"There is no {options.article}. Set LAPIS_ARTICLE to the text of the article.", file=sys.stderr)
        return NO_TEXT
    try:
        source = restore(text)
    except NotTheScript as error:
        print(f"{options.article}: {error}", file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / NAME).write_text(source, encoding="utf-8")
    print(options.output / NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
