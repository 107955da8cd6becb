package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

const (
	largeSize   = 64 << 20
	blobAccount = "lapisbench"
)

// large is the content of the large blob: no compression helps with it.
func large() []byte {
	data, rng := make([]byte, largeSize), rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	return data
}

// blobs measures the data plane with a bearer token, hence with signature and
// role looked at for each request.
func (b *bench) blobs(ctx context.Context) error {
	box, header, err := b.container(ctx)
	if err != nil {
		return err
	}
	if err := b.puts(box, header); err != nil {
		return err
	}
	put := func(name string, data []byte) error {
		return call(b.platform.http, "PUT", box+name, header, data, http.StatusCreated, nil)
	}
	if err := put("small", make([]byte, 1024)); err != nil {
		return err
	}
	for _, c := range []int{1, 8} {
		got, err := interleave(5,
			rate(c, spell, func(int) error { return call(b.platform.http, "GET", box+"small", header, nil, http.StatusOK, nil) }),
			rate(c, spell, func(int) error {
				return call(b.floor.http, "GET", floorURL+"/small", header, nil, http.StatusOK, nil)
			}))
		if err != nil {
			return err
		}
		b.report(figure{name: fmt.Sprintf("blob GET 1 KiB, c=%d", c), unit: perSec, value: got[0], floor: got[1], what: "a Go handler there"})
	}
	if err := put("large", large()); err != nil {
		return err
	}
	speed := func(m measure) measure { // from milliseconds for the large blob
		return func() (float64, error) {
			v, err := m()
			return largeSize / 1e6 / (v / 1000), err
		}
	}
	got, err := interleave(7,
		speed(timed(func() error { return call(b.platform.http, "GET", box+"large", header, nil, http.StatusOK, nil) })),
		speed(timed(b.floor.receive)))
	if err != nil {
		return err
	}
	b.report(figure{name: "blob GET 64 MiB", unit: mbPerS, value: got[0], floor: got[1], what: "io.Copy of a file over TLS"})
	return nil
}

// container makes one that the owner may write to.
func (b *bench) container(ctx context.Context) (url string, header map[string]string, err error) {
	if _, _, err := b.platform.az(ctx, "", "storage", "account", "create", "--name", blobAccount); err != nil {
		return "", nil, err
	}
	if err := b.platform.allow(ctx, blobAccount, "Storage Blob Data Contributor"); err != nil {
		return "", nil, err
	}
	if _, _, err := b.platform.az(ctx, "", "storage", "container", "create", "--account-name", blobAccount, "--name", "box"); err != nil {
		return "", nil, err
	}
	token, err := b.platform.token(audienceStorage)
	return "https://" + blobAccount + ".blob.core.windows.net/box/",
		map[string]string{"Authorization": "Bearer " + token, "x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}, err
}

// puts measures writes that are on disk when they are acknowledged.
func (b *bench) puts(box string, header map[string]string) error {
	data := make([]byte, 1024)
	dir := filepath.Join(b.dir, "fsync")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var n atomic.Int64
	next := func() string { return strconv.FormatInt(n.Add(1), 10) }
	put := func(int) error {
		return call(b.platform.http, "PUT", box+"put/"+next(), header, data, http.StatusCreated, nil)
	}
	bare := func(int) error { return writeSynced(filepath.Join(dir, next()), data) }
	for _, c := range []int{1, 16} {
		got, err := interleave(5, rate(c, spell, put), rate(c, spell, bare))
		if err != nil {
			return err
		}
		b.report(figure{name: fmt.Sprintf("blob PUT 1 KiB, durable, writers: %d", c), unit: perSec, value: got[0], floor: got[1], what: "write and fsync of a new file"})
	}
	return nil
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
