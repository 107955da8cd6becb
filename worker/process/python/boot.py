"""Entry of a scoring worker: boot.py APP_ROOT SCRIPT, with fds 3 (data) and 4 (control).

With --learn as a third argument the worker tells which packages the script has
imported. boot.py --zygote, with fd 3, forks such workers (lapis_worker/zygote.py).

Only this folder's own package and the standard library are imported before
the user's script, and this folder leaves sys.path before any of the user's
code runs, so nothing here can stand in front of a module of the user.
"""

import os
import sys


def start() -> None:
    own = os.path.dirname(os.path.abspath(__file__))
    if own not in sys.path:  # the case under PYTHONSAFEPATH
        sys.path.insert(0, own)
    from lapis_worker import imports, serve

    learned = None
    if sys.argv[1] == "--zygote":
        from lapis_worker import zygote

        sys.path[:] = [entry for entry in sys.path if entry != own]
        app_root, script, learned = zygote.main()  # returns in the workers
    else:
        sys.path[:] = [entry for entry in sys.path if entry != own]
        app_root, script = sys.argv[1], sys.argv[2]
        if sys.argv[3:] == ["--learn"]:
            learned = imports.learner(imports.folders())
    sys.argv[:] = [os.path.join(app_root, script)]
    serve.main(app_root, script, learned)


if __name__ == "__main__":
    if sys.version_info < (3, 8):  # noqa: UP036 - an old interpreter may be given
        sys.exit("The scoring worker needs Python 3.8 or newer, and this is %s." % sys.version.split()[0])  # noqa: UP031
    start()
