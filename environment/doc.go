// Package environment turns an environment definition, an image name and a
// conda file, into a Python environment on disk, and that environment into an
// OCI image and back.
//
// It owns one folder (Config.Dir). An environment is addressed by a hash of what
// went into it, is built once however many ask for it at the same time, and
// appears in the folder whole or not at all. What an image holds is unpacked
// once per digest; its manifest is asked of the registry every time, because
// that question is where the right to pull is checked.
//
// The user's own pip configuration decides where packages come from. It may hold
// credentials: they travel in environment variables and requirement files only,
// never in an argument list, a log line, a report or an error.
//
// A conda file is read, not executed: its packages come from the Python package
// index under the names they have there. The Report says what was taken for
// what, which interpreter was used, and what was left out and why.
//
// Building a package from its source distribution runs that package's build
// script with the rights of this process, as pip does.
package environment

// Code is the error code under which the real service reports an environment
// that cannot be made.
const Code = "ImageBuildFailure"

// formatVersion is part of every hash. Raise it when the way environments are
// made changes so that those on disk must not be taken for new ones.
const formatVersion = 1
