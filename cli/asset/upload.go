package asset

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"lapis/cli/blobs"
	"lapis/cli/cloud"
)

// confirmed is the metadata that marks an upload as whole.
const (
	confirmedKey   = "upload_status"
	confirmedValue = "completed"
)

// upload puts a file or folder under prefix, keeping the last element of its
// path. The first file in order is the indicator: its metadata says that the
// upload is whole and for which asset, and then nothing is sent again.
func (r *Registrar) upload(ctx context.Context, client *blobs.Client, container, prefix, path, name, version string) (uploaded, error) {
	files, err := list(path)
	if err != nil {
		return uploaded{}, err
	}
	base := prefix + filepath.Base(path)
	done := uploaded{path: base, url: client.Endpoint + "/" + container + "/" + base}
	if stat, err := os.Stat(path); err == nil && stat.IsDir() {
		for i := range files {
			files[i].name = base + "/" + files[i].name
		}
	} else {
		files[0].name = base
	}
	sort.Slice(files, func(i, j int) bool { return files[i].path < files[j].path })
	indicator := files[0].name
	switch props, err := client.Head(ctx, container, indicator); {
	case cloud.IsNotFound(err):
	case err != nil:
		return done, fmt.Errorf("uploading %s: %w", path, err)
	case props.Metadata[confirmedKey] == confirmedValue:
		done.name, done.version = props.Metadata["name"], props.Metadata["version"]
		return done, nil
	} // there, but not confirmed: an upload that broke off, done again
	r.say("uploading %s", filepath.Base(path))
	if err := r.send(ctx, client, container, files); err != nil {
		return done, fmt.Errorf("uploading %s: %w", path, err)
	}
	return done, client.SetMetadata(ctx, container, indicator, map[string]string{confirmedKey: confirmedValue, "name": name, "version": version})
}

func (r *Registrar) send(ctx context.Context, client *blobs.Client, container string, files []file) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	var sent atomic.Int64
	for _, f := range files {
		group.Go(func() error {
			sum, err := fileMD5(f.path)
			if err != nil {
				return err
			}
			// A file that another run puts there meanwhile has the same content: the
			// place is named by it.
			_, err = client.UploadFile(ctx, container, f.name, f.path, blobs.UploadOptions{Overwrite: true, ContentMD5: sum})
			if err == nil && len(files) > 8 {
				r.say("uploading %d of %d files", sent.Add(1), len(files))
			}
			return err
		})
	}
	return group.Wait()
}

func fileMD5(path string) (string, error) {
	h := md5.New() // the wire's Content-MD5: against damage, not against attack
	if err := hashFile(h, path); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}
