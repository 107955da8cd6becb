package endpoint

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"lapis/fault"
	"lapis/identity"
)

// storageAudience is what tokens for storage are asked for.
const storageAudience = "https://storage.azure.com/"

// storageVersion is the x-ms-version of our own requests.
const storageVersion = "2021-12-02"

// fetcher downloads assets with an identity, by the storage protocol.
type fetcher struct {
	http  *http.Client
	token func(ctx context.Context) (string, error)
	who   identity.Principal
}

// blobList is the answer of List Blobs.
type blobList struct {
	Blobs struct {
		Blob []struct {
			Name string `xml:"Name"`
			Size int64  `xml:"Properties>Content-Length"`
		} `xml:"Blob"`
	} `xml:"Blobs"`
	NextMarker string `xml:"NextMarker"`
}

// fetch writes an asset into the folder into: a single blob under its own name,
// a folder under the last element of its path, as the real service lays it out.
// It returns how many files and bytes there were.
func (f *fetcher) fetch(ctx context.Context, a Asset, into string) (files int, size int64, err error) {
	if err := os.MkdirAll(into, 0o700); err != nil {
		return 0, 0, err
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = root.Close() }()
	host := "https://" + a.Account + ".blob.core.windows.net/" + a.Container
	parent := path.Dir(a.Path)
	for marker := ""; ; {
		page, err := f.list(ctx, host, a.Path, marker)
		if err != nil {
			return files, size, err
		}
		for _, b := range page.Blobs.Blob {
			if b.Name != a.Path && !strings.HasPrefix(b.Name, strings.TrimSuffix(a.Path, "/")+"/") && a.Path != "" {
				continue // only begins alike
			}
			name := b.Name
			if parent != "." {
				name = strings.TrimPrefix(b.Name, parent+"/")
			}
			n, err := f.download(ctx, host, b.Name, root, name)
			if err != nil {
				return files, size, err
			}
			files, size = files+1, size+n
		}
		if marker = page.NextMarker; marker == "" {
			break
		}
	}
	if files == 0 {
		return 0, 0, fault.E(fault.Invalid, "BadArgument", "Nothing is stored at %s/%s; upload the asset again.", host, a.Path)
	}
	return files, size, nil
}

func (f *fetcher) list(ctx context.Context, host, prefix, marker string) (blobList, error) {
	q := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {prefix}}
	if marker != "" {
		q.Set("marker", marker)
	}
	var page blobList
	body, err := f.get(ctx, host+"?"+q.Encode())
	if err != nil {
		return page, err
	}
	defer func() { _ = body.Close() }()
	return page, xml.NewDecoder(body).Decode(&page)
}

func (f *fetcher) download(ctx context.Context, host, blob string, root *os.Root, name string) (int64, error) {
	folder, marker := strings.CutSuffix(name, "/") // an empty blob that some tools mark a folder by
	if !filepath.IsLocal(folder) || path.Clean(folder) != folder {
		return 0, badBlobName(blob)
	}
	if !marker {
		folder = path.Dir(name)
	}
	if err := root.MkdirAll(folder, 0o700); err != nil {
		return 0, noPlace(blob, err)
	}
	if marker {
		return 0, nil
	}
	body, err := f.get(ctx, host+"/"+(&url.URL{Path: blob}).EscapedPath())
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	out, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, noPlace(blob, err)
	}
	n, err := io.Copy(out, body)
	return n, errors.Join(err, out.Close())
}

// noPlace tells names that cannot all be files, as one is the folder of another
// (the user's to mend), from failures of our own disk.
func noPlace(blob string, err error) error {
	for _, clash := range []error{syscall.EEXIST, syscall.EISDIR, syscall.ENOTDIR, syscall.ENAMETOOLONG} {
		if errors.Is(err, clash) {
			return badBlobName(blob)
		}
	}
	return fmt.Errorf("writing the blob %q: %w", blob, err)
}

func badBlobName(blob string) error {
	return fault.E(fault.Invalid, "BadArgument", "The blob '%s' cannot be made a file: its name leads out of the folder, is too long, or is the folder of another. Register the asset again without it.", blob)
}

// get asks with the identity's token; a refusal keeps what storage said.
func (f *fetcher) get(ctx context.Context, address string) (io.ReadCloser, error) {
	token, err := f.token(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("x-ms-version", storageVersion)
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	code := resp.Header.Get("x-ms-error-code")
	kind := fault.Invalid
	if resp.StatusCode == http.StatusForbidden {
		kind = fault.Denied
	}
	where, _, _ := strings.Cut(address, "?")
	return nil, fault.E(kind, code, "Storage answered %d %s to identity '%s' (object id %s) for %s.",
		resp.StatusCode, code, f.who.DisplayName, f.who.ObjectID, where)
}
