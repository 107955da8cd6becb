package blobs

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"golang.org/x/sync/errgroup"
)

// UploadFile writes a file as a block blob: at once where it is small, else in
// blocks, a few at a time, made one blob at the end.
func (c *Client) UploadFile(ctx context.Context, container, blob, file string, o UploadOptions) (Properties, error) {
	f, size, err := openFile(file)
	if err != nil {
		return Properties{}, err
	}
	defer f.Close()
	if size > singleLimit {
		return c.uploadBlocks(ctx, container, blob, f, size, o)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return Properties{}, fmt.Errorf("%s: %v", file, err)
	}
	return c.Upload(ctx, container, blob, data, o)
}

// Upload writes a block blob at once.
func (c *Client) Upload(ctx context.Context, container, blob string, data []byte, o UploadOptions) (Properties, error) {
	header := o.header("x-ms-blob-content-type")
	header.Set("x-ms-blob-type", "BlockBlob")
	header.Set("Content-Type", "application/octet-stream")
	if o.ContentMD5 != "" {
		header.Set("Content-MD5", o.ContentMD5)
	}
	if data == nil {
		data = []byte{}
	}
	answer, err := c.do(ctx, http.MethodPut, c.path(container, blob), nil, header, data)
	if err != nil {
		return Properties{}, err
	}
	if o.Progress != nil {
		o.Progress(int64(len(data)), int64(len(data)))
	}
	return properties(answer), nil
}

func (o UploadOptions) header(contentType string) http.Header {
	header := withMetadata(nil, o.Metadata)
	if !o.Overwrite {
		header.Set("If-None-Match", "*")
	}
	if o.ContentType != "" {
		header.Set(contentType, o.ContentType)
	}
	return header
}

func (c *Client) uploadBlocks(ctx context.Context, container, blob string, r io.ReaderAt, size int64, o UploadOptions) (Properties, error) {
	if !o.Overwrite { // say so before the bytes travel, not after
		if _, err := c.Head(ctx, container, blob); err == nil {
			return c.Upload(ctx, container, blob, nil, o)
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	var list blockList
	var mu sync.Mutex
	var done int64
	for offset := int64(0); offset < size; offset += blockSize {
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%08d", offset/blockSize))
		list.Latest = append(list.Latest, id)
		group.Go(func() error {
			data := make([]byte, min(blockSize, size-offset))
			if _, err := r.ReadAt(data, offset); err != nil {
				return err
			}
			query := url.Values{"comp": {"block"}, "blockid": {id}}
			if _, err := c.do(gctx, http.MethodPut, c.path(container, blob), query, nil, data); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done += int64(len(data))
			if o.Progress != nil {
				o.Progress(done, size)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Properties{}, err
	}
	body, err := xml.Marshal(list)
	if err != nil {
		return Properties{}, err
	}
	header := o.header("x-ms-blob-content-type")
	header.Set("Content-Type", "application/xml")
	if o.ContentMD5 != "" {
		header.Set("x-ms-blob-content-md5", o.ContentMD5)
	}
	answer, err := c.do(ctx, http.MethodPut, c.path(container, blob), url.Values{"comp": {"blocklist"}}, header, append([]byte(xml.Header), body...))
	if err != nil {
		return Properties{}, err
	}
	return properties(answer), nil
}

type blockList struct {
	XMLName xml.Name `xml:"BlockList"`
	Latest  []string `xml:"Latest"`
}
