// Package content keeps bytes: blobs, blocks, image layers.
//
// A piece of content is written once, under a key its owner chooses when the
// bytes are complete, and never changes. Commit means durable: bytes and name
// are on disk and survive a crash; what was never committed leaves nothing
// behind after the next start. Records that name content are kept elsewhere
// (package store), and are written after the content and deleted before it.
//
// Backends: disk (embedded), memory (tests). Both pass package contenttest.
package content

import (
	"context"
	"errors"
	"io"
)

// ErrNotFound means that no content has the key.
var ErrNotFound = errors.New("content not found")

// ErrClosed means that the store was closed before the call.
var ErrClosed = errors.New("content store is closed")

// Store is a backend. Keys are 1 to 200 characters of a-z 0-9 - _ . and /,
// with no empty, "." or ".." element; [CheckKey] tells. A store may be used by
// many at once, a Writer or Reader by one.
type Store interface {
	// Create begins a piece of content.
	Create(ctx context.Context) (Writer, error)
	// Open returns the content, or ErrNotFound. It can be read to its end even
	// if it is deleted meanwhile.
	Open(ctx context.Context, key string) (Reader, error)
	// Delete removes content. Content that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List returns the keys that begin with prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
	Close() error
}

// Writer takes the bytes of one piece of content.
type Writer interface {
	io.Writer
	// Commit makes the content durable under key. A key that is taken is
	// replaced whole, never torn. It ends the Writer, even if it fails.
	Commit(key string) error
	// Abort drops what was written. After Commit it does nothing, so it can be deferred.
	Abort()
}

// Reader reads one piece of content.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}
