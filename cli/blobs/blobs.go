// Package blobs is the client's side of Azure's blob storage: containers and
// block blobs, signed with an account key, a shared access signature, or a
// token.
package blobs

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/cli/cloud"
)

// Version is the x-ms-version that requests carry.
const Version = "2023-11-03"

// Sizes of the parts of a transfer, in bytes.
const (
	singleLimit = 64 << 20 // larger files go up block by block
	blockSize   = 8 << 20
	rangeSize   = 32 << 20
)

// Client reaches one storage account, or with a container's SAS one container.
// Exactly one of Key, SAS and Bearer signs.
type Client struct {
	Session  *cloud.Session
	Endpoint string // base URL without a trailing slash; the account may be its path
	Account  string
	Key      string // account key, base64
	SAS      string // query of a shared access signature, without the question mark
	Bearer   bool   // sign with the session's token for storage
	Now      func() time.Time
}

// Properties describe a blob or a container.
type Properties struct {
	ETag, LastModified, ContentType, ContentMD5, BlobType, Created string
	Length                                                         int64
	Metadata                                                       map[string]string
	RequestID                                                      string
}

// Item is an entry of a list.
type Item struct {
	Name string
	Properties
}

// UploadOptions say how a blob is written.
type UploadOptions struct {
	ContentType string
	Overwrite   bool // else an existing blob makes the upload fail with BlobAlreadyExists
	ContentMD5  string
	Metadata    map[string]string
	Progress    func(done, total int64) // nil: silent
}

// path names a container, or a blob in it.
func (c *Client) path(container, blob string) string {
	p := "/" + url.PathEscape(container)
	if blob == "" {
		return p
	}
	parts := strings.Split(blob, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return p + "/" + strings.Join(parts, "/")
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, header http.Header, body []byte) (*cloud.Answer, error) {
	u, err := url.Parse(c.Endpoint + path)
	if err != nil {
		return nil, err
	}
	u.RawQuery = query.Encode()
	if header == nil {
		header = http.Header{}
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	header.Set("x-ms-client-request-id", uuid.NewString()) // here, since it is signed too
	header.Set("x-ms-version", Version)
	header.Set("x-ms-date", now().UTC().Format(http.TimeFormat))
	switch {
	case c.Bearer:
		token, err := c.Session.Token(ctx, cloud.AudienceStorage)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token.Access)
	case c.SAS != "":
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+c.SAS, "&")
	case c.Key != "":
		signature, err := sign(c.Account, c.Key, method, u, header, len(body))
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "SharedKey "+c.Account+":"+signature)
	}
	answer, err := c.Session.Do(ctx, method, u.String(), header, body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 400 {
		return nil, cloud.FailureOf(answer.Response, answer.Data)
	}
	return answer, nil
}

// CreateContainer makes a container and reports whether it was not there.
func (c *Client) CreateContainer(ctx context.Context, name string, metadata map[string]string) (bool, error) {
	_, err := c.do(ctx, http.MethodPut, c.path(name, ""), url.Values{"restype": {"container"}}, withMetadata(nil, metadata), nil)
	if hasCode(err, "ContainerAlreadyExists") {
		return false, nil
	}
	return err == nil, err
}

// DeleteContainer deletes a container and all its blobs.
func (c *Client) DeleteContainer(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, c.path(name, ""), url.Values{"restype": {"container"}}, nil, nil)
	return err
}

// Container returns a container's properties.
func (c *Client) Container(ctx context.Context, name string) (Properties, error) {
	answer, err := c.do(ctx, http.MethodGet, c.path(name, ""), url.Values{"restype": {"container"}}, nil, nil)
	if err != nil {
		return Properties{}, err
	}
	return properties(answer), nil
}

// Head returns a blob's properties.
func (c *Client) Head(ctx context.Context, container, blob string) (Properties, error) {
	answer, err := c.do(ctx, http.MethodHead, c.path(container, blob), nil, nil, nil)
	if err != nil {
		return Properties{}, err
	}
	return properties(answer), nil
}

// Delete deletes a blob.
func (c *Client) Delete(ctx context.Context, container, blob string) error {
	_, err := c.do(ctx, http.MethodDelete, c.path(container, blob), nil, nil, nil)
	return err
}

// SetMetadata replaces a blob's metadata.
func (c *Client) SetMetadata(ctx context.Context, container, blob string, metadata map[string]string) error {
	_, err := c.do(ctx, http.MethodPut, c.path(container, blob), url.Values{"comp": {"metadata"}}, withMetadata(nil, metadata), nil)
	return err
}

// Download writes a blob to w, range by range, and returns its properties.
func (c *Client) Download(ctx context.Context, container, blob string, w io.Writer) (Properties, error) {
	var props Properties
	for offset := int64(0); ; {
		header := http.Header{}
		header.Set("x-ms-range", fmt.Sprintf("bytes=%d-%d", offset, offset+rangeSize-1))
		if offset > 0 {
			header.Set("If-Match", props.ETag) // the blob must not change under the reader
		}
		answer, err := c.do(ctx, http.MethodGet, c.path(container, blob), nil, header, nil)
		if hasCode(err, "InvalidRange") && offset == 0 { // an empty blob has no range
			answer, err = c.do(ctx, http.MethodGet, c.path(container, blob), nil, nil, nil)
		}
		if err != nil {
			return props, err
		}
		if offset == 0 {
			props = properties(answer)
			props.Length = total(answer)
		}
		if _, err := w.Write(answer.Data); err != nil {
			return props, err
		}
		offset += int64(len(answer.Data))
		if offset >= props.Length || len(answer.Data) == 0 {
			return props, nil
		}
	}
}

// total is the whole length of a blob of which a range was answered.
func total(a *cloud.Answer) int64 {
	_, text, ok := strings.Cut(a.Header.Get("Content-Range"), "/")
	if n, err := strconv.ParseInt(text, 10, 64); ok && err == nil {
		return n
	}
	return int64(len(a.Data))
}

type listAnswer struct {
	Containers struct {
		Items []listItem `xml:"Container"`
	} `xml:"Containers"`
	Blobs struct {
		Items []listItem `xml:"Blob"`
	} `xml:"Blobs"`
	NextMarker string `xml:"NextMarker"`
}

type listItem struct {
	Name       string `xml:"Name"`
	Properties struct {
		ETag         string `xml:"Etag"`
		LastModified string `xml:"Last-Modified"`
		Created      string `xml:"Creation-Time"`
		Length       int64  `xml:"Content-Length"`
		ContentType  string `xml:"Content-Type"`
		ContentMD5   string `xml:"Content-MD5"`
		BlobType     string `xml:"BlobType"`
	} `xml:"Properties"`
}

// Containers lists the containers whose names begin with the prefix.
func (c *Client) Containers(ctx context.Context, prefix string) ([]Item, error) {
	return c.list(ctx, "/", url.Values{"comp": {"list"}}, prefix)
}

// Blobs lists the blobs of a container whose names begin with the prefix.
func (c *Client) Blobs(ctx context.Context, container, prefix string) ([]Item, error) {
	return c.list(ctx, c.path(container, ""), url.Values{"restype": {"container"}, "comp": {"list"}, "maxresults": {"5000"}}, prefix)
}

func (c *Client) list(ctx context.Context, path string, query url.Values, prefix string) ([]Item, error) {
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	items := []Item{}
	for {
		answer, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
		if err != nil {
			return nil, err
		}
		var page listAnswer
		if err := xml.Unmarshal([]byte(strings.TrimPrefix(string(answer.Data), "\xef\xbb\xbf")), &page); err != nil {
			return nil, fmt.Errorf("the list of %s does not parse: %v", path, err)
		}
		for _, it := range append(page.Containers.Items, page.Blobs.Items...) {
			p := it.Properties
			items = append(items, Item{it.Name, Properties{ETag: p.ETag, LastModified: p.LastModified, ContentType: p.ContentType,
				ContentMD5: p.ContentMD5, BlobType: p.BlobType, Created: p.Created, Length: p.Length}})
		}
		if page.NextMarker == "" {
			return items, nil
		}
		query.Set("marker", page.NextMarker)
	}
}

func properties(a *cloud.Answer) Properties {
	p := Properties{
		ETag:         a.Header.Get("ETag"),
		LastModified: a.Header.Get("Last-Modified"),
		ContentType:  a.Header.Get("Content-Type"),
		ContentMD5:   a.Header.Get("Content-MD5"),
		BlobType:     a.Header.Get("x-ms-blob-type"),
		Created:      a.Header.Get("x-ms-creation-time"),
		RequestID:    a.Header.Get("x-ms-request-id"),
		Metadata:     map[string]string{},
		Length:       max(a.ContentLength, 0),
	}
	for name := range a.Header {
		if rest, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-"); ok {
			p.Metadata[rest] = a.Header.Get(name)
		}
	}
	return p
}

func withMetadata(header http.Header, metadata map[string]string) http.Header {
	if header == nil {
		header = http.Header{}
	}
	for name, value := range metadata {
		header.Set("x-ms-meta-"+name, value)
	}
	return header
}

func hasCode(err error, code string) bool {
	var f *cloud.Failure
	return errors.As(err, &f) && f.Code == code
}

// openFile opens a regular file and returns its size.
func openFile(name string) (*os.File, int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	stat, err := file.Stat()
	if err == nil && stat.IsDir() {
		err = fmt.Errorf("%s is a folder, not a file", name)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, stat.Size(), nil
}
