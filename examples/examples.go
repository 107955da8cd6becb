// Package examples holds projects that run on Lapis and on Azure unchanged, as
// a user would have them in a folder. They are part of the binary, so that the
// tour needs no checkout.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed managed-identity
var files embed.FS

// ManagedIdentity returns the folder of a model behind an endpoint, whose
// scoring script reads a blob with the endpoint's identity.
func ManagedIdentity() fs.FS {
	sub, err := fs.Sub(files, "managed-identity")
	if err != nil {
		panic("examples: " + err.Error()) // fs.Sub fails on malformed paths only
	}
	return sub
}
