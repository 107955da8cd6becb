package registry

import (
	"net/http"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"
	"github.com/opencontainers/go-digest"

	"lapis/fault"
)

// need is what a caller must have for a route.
type need string

const (
	anonymous     need = "anonymous"     // nothing
	authenticated need = "authenticated" // a token or credential of this registry, whatever it allows
	needPull      need = pull            // on the repository
	needPush      need = push
	needDelete    need = remove
	needCatalog   need = catalog
)

// route is one row of the table.
type route struct {
	method  string
	pattern string // {name} is a repository and may hold slashes; others are one segment
	need    need
	handle  func(f *face, w http.ResponseWriter, c *call) error
}

// routes is every request that this face answers. Rows with overOCI are
// answered by ociserver.
func routes() []route {
	return []route{
		{"POST", "/oauth2/exchange", anonymous, (*face).postExchange},
		{"POST", "/oauth2/token", anonymous, (*face).postToken},
		{"GET", "/oauth2/token", anonymous, (*face).getToken},

		{"GET", "/v2/", authenticated, (*face).ping},
		{"HEAD", "/v2/", authenticated, (*face).ping},
		{"GET", "/v2/_catalog", needCatalog, (*face).listRepositories},
		{"GET", "/v2/{name}/tags/list", needPull, (*face).listTags},
		{"GET", "/v2/{name}/referrers/{digest}", needPull, (*face).overOCI},

		{"GET", "/v2/{name}/manifests/{reference}", needPull, (*face).overOCI},
		{"HEAD", "/v2/{name}/manifests/{reference}", needPull, (*face).overOCI},
		{"PUT", "/v2/{name}/manifests/{reference}", needPush, (*face).putManifest},
		{"DELETE", "/v2/{name}/manifests/{reference}", needDelete, (*face).overOCI},

		{"POST", "/v2/{name}/blobs/uploads/", needPush, (*face).startUpload},
		{"GET", "/v2/{name}/blobs/uploads/{upload}", needPush, (*face).uploadState},
		{"PATCH", "/v2/{name}/blobs/uploads/{upload}", needPush, (*face).writeUpload},
		{"PUT", "/v2/{name}/blobs/uploads/{upload}", needPush, (*face).completeUpload},
		{"DELETE", "/v2/{name}/blobs/uploads/{upload}", needPush, (*face).cancelUpload},

		{"GET", "/v2/{name}/blobs/{digest}", needPull, (*face).getBlob},
		{"HEAD", "/v2/{name}/blobs/{digest}", needPull, (*face).overOCI},
		{"DELETE", "/v2/{name}/blobs/{digest}", needDelete, (*face).overOCI},
	}
}

// Operation is a row of the route table, for lists of what is there.
type Operation struct {
	Method string
	Path   string
	Need   string // anonymous, authenticated, or the permission on the repository
}

// Operations lists all operations, in the order of the route table.
func Operations() []Operation {
	var list []Operation
	for _, r := range routes() {
		list = append(list, Operation{r.method, r.pattern, string(r.need)})
	}
	return list
}

// match finds the row for a request and the values of its wildcards. The error
// is what the caller should see: 404, or 405 where only the method is wrong.
func match(table []route, method, path string) (route, map[string]string, error) {
	if path == "/v2" {
		path = "/v2/"
	}
	if name, ok := strings.CutSuffix(path, "/blobs/uploads"); ok {
		path = name + "/blobs/uploads/"
	}
	known := false
	for _, row := range table {
		values, ok := matchPattern(row.pattern, path)
		if !ok {
			continue
		}
		if known = true; row.method != method {
			continue
		}
		return row, values, checkValues(values)
	}
	if known {
		return route{}, nil, fault.E(fault.NotAllowed, "UNSUPPORTED", "The registry does not take %s here.", method)
	}
	return route{}, nil, fault.E(fault.NotFound, "NAME_UNKNOWN", "The registry has nothing at %.200q.", path)
}

// matchPattern matches from both ends, so that {name} takes what is between.
func matchPattern(pattern, path string) (map[string]string, bool) {
	head, tail, wild := strings.Cut(pattern, "{name}")
	if !wild {
		return nil, pattern == path
	}
	rest, ok := strings.CutPrefix(path, head)
	if !ok {
		return nil, false
	}
	want, got := strings.Split(tail, "/")[1:], strings.Split(rest, "/")
	if len(got) <= len(want) {
		return nil, false
	}
	cut := len(got) - len(want)
	values := map[string]string{"name": strings.Join(got[:cut], "/")}
	for i, segment := range want {
		value := got[cut+i]
		name, isWild := strings.CutPrefix(segment, "{")
		switch {
		case isWild && value != "":
			values[strings.TrimSuffix(name, "}")] = value
		case isWild || segment != value:
			return nil, false
		}
	}
	return values, true
}

// checkValues refuses names that no repository, tag or digest can have.
func checkValues(values map[string]string) error {
	if name, ok := values["name"]; ok && (len(name) > 255 || !ociref.IsValidRepository(name)) {
		return ociErrorf(ociregistry.ErrNameInvalid, "%.300q is no repository name: lower-case letters, digits, and . _ - / between them", name)
	}
	if d, ok := values["digest"]; ok {
		if _, err := digest.Parse(d); err != nil {
			return ociErrorf(ociregistry.ErrDigestInvalid, "%.200q is no digest: %v", d, err)
		}
	}
	if ref, ok := values["reference"]; ok && !ociref.IsValidTag(ref) && !ociref.IsValidDigest(ref) {
		return ociErrorf(ociregistry.ErrManifestInvalid, "%.200q is neither a tag nor a digest", ref)
	}
	return nil
}
