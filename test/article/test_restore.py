"""Tests of restore.py. The article's own text is used where it is at hand."""

import ast
import textwrap
import unittest

import restore

# Not the article's script: lines of ours, in the same forms.
WHOLE = '''
import one
from two import Three


def first():
    """
    A text
    """
    # about the value
    value = Three(
        key="a: (",
        other=[
            1,
        ],
    )
    if value:
        result = (
            value
        )
    else:
        result = None
    # after the branch
    return result


# about the second
def second():
    with first() as f:
        f.close()
'''
FLAT = "\n".join(line.strip() for line in WHOLE.splitlines() if line.strip())


class RestoreTest(unittest.TestCase):
    maxDiff = None

    def test_lines_get_their_depth_back(self):
        self.assertEqual(restore.indent(FLAT.splitlines()), WHOLE.lstrip())

    def test_text_without_the_script_is_refused(self):
        for text in (
            "",
            "def run(data):",
            "import a\ndef run(data):\nreturn data",
            "import a\ndef run(data):\nprint((\n",
        ):
            with self.assertRaises(restore.NotTheScript, msg=text):
                restore.restore(text)

    def test_statement_in_the_wrong_place_is_refused(self):
        script = """
            def init():
                if True:
                    a = 1
                    send()
                else:
                    a = 2
        """
        function = ast.parse(textwrap.dedent(script)).body[0]
        with self.assertRaises(restore.NotTheScript):
            restore.check_shape(function)

    def test_the_articles_script_is_restored(self):
        path = restore.article_path()
        if not path.exists():
            self.skipTest(f"no text of the article at {path}; set LAPIS_ARTICLE to it")
        source = restore.restore(path.read_text(encoding="utf-8"))
        init = next(f for f in ast.parse(source).body if getattr(f, "name", "") == "init")
        calls = [s.value.func.id for s in init.body if isinstance(s, ast.Expr) and isinstance(s.value.func, ast.Name)]
        self.assertEqual(calls, ["access_blob_storage_rest", "access_blob_storage_sdk"])


if __name__ == "__main__":
    unittest.main()
