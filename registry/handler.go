package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/opencontainers/go-digest"

	"lapis/fault"
)

// maxPage is the most names one page of a list holds.
const maxPage = 1000

// errBody wraps a failure to read a request's body: the client's or the
// network's doing, not ours.
var errBody = errors.New("reading the request's body")

// face answers HTTP for a Service behind the checks of an Access.
type face struct {
	Access
	s     *Service
	table []route
}

// call is one request that was matched to a row and let through.
type call struct {
	r      *http.Request
	values map[string]string
	reg    Registry
	who    caller
	repos  *guard
}

// Handler mounts the service behind the checks.
func (s *Service) Handler(access Access) http.Handler {
	return &face{Access: access, s: s, table: routes()}
}

func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v2") {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := f.serve(w, r); err != nil {
		f.draw(w, r, err)
	}
}

// serve finds the registry and the row, checks the caller and calls the row's handler.
func (f *face) serve(w http.ResponseWriter, r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	reg, err := f.Registries(r.Context(), strings.ToLower(host))
	if err != nil {
		return err
	}
	row, values, err := match(f.table, r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	c := &call{r: r, values: values, reg: reg}
	if row.need != anonymous {
		if err := f.admit(c, row.need); err != nil {
			return err
		}
	}
	return row.handle(f, w, c)
}

// admit authenticates and authorizes, and hands the call the registry it may see.
func (f *face) admit(c *call, need need) error {
	name := c.values["name"]
	who, err := f.authenticate(c.r, c.reg, wanted(need, name))
	if err != nil {
		return err
	}
	c.who = who
	if need == authenticated {
		return nil
	}
	if err := f.permit(c.r.Context(), c.reg, who, need, name); err != nil {
		return err
	}
	c.repos = &guard{backend: f.s.open(c.reg.Name), typ: typeRepository, name: name, action: string(need)}
	if need == needCatalog {
		c.repos.typ, c.repos.name = typeRegistry, catalog
	}
	return nil
}

func (f *face) exchange(r *http.Request) bool { return r.URL.Path == "/oauth2/exchange" }

func (f *face) ping(w http.ResponseWriter, _ *call) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, "{}")
	return nil
}

// overOCI lets ociserver parse and answer.
func (f *face) overOCI(w http.ResponseWriter, c *call) error {
	server := ociserver.New(c.repos, &ociserver.Options{DebugID: "registry", WriteError: f.draw})
	server.ServeHTTP(w, c.r)
	return nil
}

// getBlob hands ociserver a Range that it can read: a suffix becomes a range
// from the start. A header that is no single range is ignored, as RFC 9110
// section 14.2 allows.
func (f *face) getBlob(w http.ResponseWriter, c *call) error {
	header := c.r.Header.Get("Range")
	if header == "" {
		return f.overOCI(w, c)
	}
	desc, err := c.repos.ResolveBlob(c.r.Context(), c.values["name"], ociregistry.Digest(c.values["digest"]))
	if err != nil {
		return err
	}
	first, ok := rangeFrom(header, desc.Size)
	switch {
	case !ok:
		c.r.Header.Del("Range")
	case first >= desc.Size:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", desc.Size))
		return ociErrorf(ociregistry.ErrRangeInvalid, "the range begins at byte %d, the blob has %d", first, desc.Size)
	case strings.HasPrefix(header, "bytes=-"):
		c.r.Header.Set("Range", fmt.Sprintf("bytes=%d-", first))
	}
	return f.overOCI(w, c)
}

// rangeFrom returns the first byte of a Range header for content of the size;
// false where it is not one well-formed range.
func rangeFrom(header string, size int64) (int64, bool) {
	span, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(span, "-")
	if !ok || !dash || len(span) > 50 {
		return 0, false
	}
	end, err := strconv.ParseUint(last, 10, 63)
	if first == "" {
		return max(size-int64(end), 0), err == nil
	}
	start, err2 := strconv.ParseUint(first, 10, 63)
	if err2 != nil || last != "" && (err != nil || end < start) {
		return 0, false
	}
	return int64(start), true
}

// putManifest differs from ociserver's in its limit on the size, and in that a
// manifest that cannot be read is the client's error.
func (f *face) putManifest(w http.ResponseWriter, c *call) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, c.r.Body, maxManifest))
	if err != nil {
		return bodyError(err)
	}
	name, tag := c.values["name"], c.values["reference"]
	if want, err := digest.Parse(tag); err == nil {
		if got := digest.FromBytes(data); got != want {
			return ociErrorf(ociregistry.ErrDigestInvalid, "the manifest has the digest %s, not %s", got, want)
		}
		tag = ""
	}
	mediaType := c.r.Header.Get("Content-Type")
	desc, err := c.repos.PushManifest(c.r.Context(), name, tag, data, mediaType)
	if err != nil {
		return err
	}
	if m, err := parseManifest(mediaType, data); err == nil && m.subject != "" {
		w.Header().Set("OCI-Subject", string(m.subject))
	}
	created(w, "/v2/"+name+"/manifests/"+string(desc.Digest), desc.Digest)
	return nil
}

func created(w http.ResponseWriter, location string, digest ociregistry.Digest) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", string(digest))
	w.WriteHeader(http.StatusCreated)
}

// startUpload begins an upload; or takes a whole layer (digest), or mounts one
// (mount, from). A mount that cannot be becomes an upload, by the spec.
func (f *face) startUpload(w http.ResponseWriter, c *call) error {
	name, query := c.values["name"], c.r.URL.Query()
	if d := query.Get("mount"); d != "" {
		desc, err := f.mount(c, name, query.Get("from"), d)
		if err == nil {
			created(w, "/v2/"+name+"/blobs/"+d, desc.Digest)
			return nil
		}
		if !errors.Is(err, ociregistry.ErrBlobUnknown) {
			return err
		}
	}
	if d := query.Get("digest"); d != "" {
		want, err := digest.Parse(d)
		if err != nil {
			return ociErrorf(ociregistry.ErrDigestInvalid, "%.200q is no digest: %v", d, err)
		}
		desc, err := c.repos.PushBlob(c.r.Context(), name, ociregistry.Descriptor{Digest: want, Size: c.r.ContentLength}, body{c.r.Body})
		if err != nil {
			return err
		}
		created(w, "/v2/"+name+"/blobs/"+string(desc.Digest), desc.Digest)
		return nil
	}
	u, err := c.repos.PushBlobChunked(c.r.Context(), name, 0)
	if err != nil {
		return err
	}
	defer u.Close()
	accepted(w, name, u.ID(), 0, http.StatusAccepted)
	return nil
}

// mount needs pull at the source too: ErrBlobUnknown where the caller's role
// does not give it, a challenge where its token could. Without a source there
// is nothing to check the right to the layer against, so it is not mounted.
func (f *face) mount(c *call, name, from, d string) (ociregistry.Descriptor, error) {
	digest, err := digest.Parse(d)
	if err != nil {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrDigestInvalid, "%.200q is no digest: %v", d, err)
	}
	if from == "" {
		return ociregistry.Descriptor{}, ociregistry.ErrBlobUnknown
	}
	if !ociref.IsValidRepository(from) {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrNameInvalid, "from is %.200q, which is no repository name", from)
	}
	err = f.permit(c.r.Context(), c.reg, c.who, needPull, from)
	var narrow *challenge
	switch {
	case errors.As(err, &narrow):
		narrow.scope = append(wanted(needPush, name), narrow.scope...)
		return ociregistry.Descriptor{}, narrow
	case fault.Is(err, fault.Denied):
		return ociregistry.Descriptor{}, ociregistry.ErrBlobUnknown
	case err != nil:
		return ociregistry.Descriptor{}, err
	}
	return c.repos.MountBlob(c.r.Context(), from, name, digest)
}

// accepted describes an upload's state. An empty one has the range 0-0, as
// registries have always written it.
func accepted(w http.ResponseWriter, name, id string, size int64, status int) {
	h := w.Header()
	h.Set("Location", "/v2/"+name+"/blobs/uploads/"+id)
	h.Set("Docker-Upload-Uuid", id)
	h.Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.WriteHeader(status)
}

func (f *face) uploadState(w http.ResponseWriter, c *call) error {
	size, err := c.repos.uploadSize(c.values["name"], c.values["upload"])
	if err != nil {
		return err
	}
	accepted(w, c.values["name"], c.values["upload"], size, http.StatusNoContent)
	return nil
}

// resume takes the call's upload up at the Content-Range's start; without the
// header at its end, which is how docker streams.
func (c *call) resume() (ociregistry.BlobWriter, error) {
	offset, err := contentRange(c.r)
	if err != nil {
		return nil, err
	}
	return c.repos.PushBlobChunkedResume(c.r.Context(), c.values["name"], c.values["upload"], offset, 0)
}

func (f *face) writeUpload(w http.ResponseWriter, c *call) error {
	u, err := c.resume()
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := io.Copy(u, body{c.r.Body}); err != nil {
		return err
	}
	accepted(w, c.values["name"], u.ID(), u.Size(), http.StatusAccepted)
	return nil
}

func (f *face) completeUpload(w http.ResponseWriter, c *call) error {
	want, err := digest.Parse(c.r.URL.Query().Get("digest"))
	if err != nil {
		return ociErrorf(ociregistry.ErrDigestInvalid, "the parameter digest is missing or no digest: %v", err)
	}
	u, err := c.resume()
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := io.Copy(u, body{c.r.Body}); err != nil {
		return err
	}
	desc, err := u.Commit(want)
	if err != nil {
		return err
	}
	created(w, "/v2/"+c.values["name"]+"/blobs/"+string(desc.Digest), desc.Digest)
	return nil
}

func (f *face) cancelUpload(w http.ResponseWriter, c *call) error {
	u, err := c.repos.PushBlobChunkedResume(c.r.Context(), c.values["name"], c.values["upload"], -1, 0)
	if err != nil {
		return err
	}
	if err := u.Cancel(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// contentRange returns the start in a Content-Range of an upload, which is
// written start-end, with or without a unit and a total; -1 where there is none.
func contentRange(r *http.Request) (int64, error) {
	header := r.Header.Get("Content-Range")
	if header == "" {
		return -1, nil
	}
	span := strings.TrimPrefix(strings.TrimPrefix(header, "bytes "), "bytes=")
	span, _, _ = strings.Cut(span, "/")
	first, last, ok := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || err1 != nil || err2 != nil || start < 0 || end < start {
		return 0, ociErrorf(ociregistry.ErrRangeInvalid, "Content-Range is %.100q; it must be start-end", header)
	}
	length := end - start + 1
	if r.ContentLength >= 0 && length != r.ContentLength && !(r.ContentLength == 0 && end == start) {
		return 0, ociErrorf(ociregistry.ErrSizeInvalid, "Content-Range spans %d bytes, the body has %d", length, r.ContentLength)
	}
	return start, nil
}

func (f *face) listRepositories(w http.ResponseWriter, c *call) error {
	names, err := page(w, c.r, func(after string) iter.Seq2[string, error] { return c.repos.Repositories(c.r.Context(), after) })
	if err != nil {
		return err
	}
	return writeList(w, map[string]any{"repositories": names})
}

func (f *face) listTags(w http.ResponseWriter, c *call) error {
	name := c.values["name"]
	names, err := page(w, c.r, func(after string) iter.Seq2[string, error] { return c.repos.Tags(c.r.Context(), name, after) })
	if err != nil {
		return err
	}
	return writeList(w, map[string]any{"name": name, "tags": names})
}

// page takes n names after last, and sets Link where there are more.
func page(w http.ResponseWriter, r *http.Request, list func(after string) iter.Seq2[string, error]) ([]string, error) {
	query, n := r.URL.Query(), maxPage
	if text := query.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 0 {
			return nil, fault.E(fault.Invalid, "PAGINATION_NUMBER_INVALID", "The parameter n is %.50q; it must be a number from 0 up.", text)
		}
		n = min(asked, maxPage)
	}
	names := []string{}
	for name, err := range list(query.Get("last")) {
		if err != nil {
			return nil, err
		}
		if len(names) == n {
			if n > 0 {
				next := url.Values{"last": {names[n-1]}, "n": {strconv.Itoa(n)}}
				w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.EscapedPath(), next.Encode()))
			}
			break
		}
		names = append(names, name)
	}
	return names, nil
}

func writeList(w http.ResponseWriter, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(data)
	return nil
}

// body marks the errors of reading a request's body as such.
type body struct{ r io.Reader }

func (b body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = bodyError(err)
	}
	return n, err
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errBody, err)
}
