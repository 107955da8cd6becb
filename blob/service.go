package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"lapis/content"
	"lapis/fault"
	"lapis/store"
)

// Config is what a [Service] works with.
type Config struct {
	Store   store.Store
	Content content.Store
	Now     func() time.Time // nil: time.Now
	Rand    io.Reader        // nil: crypto/rand
}

// Service holds the containers and blobs of all accounts.
type Service struct {
	records store.Store
	content content.Store
	rand    io.Reader
	now     func() time.Time
	start   string // part of the content keys of this process

	mu      sync.Mutex
	lastTag int64
	pins    pins

	ctx    context.Context // of work that goes on after its request was answered
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// New makes a service. Call [Service.Sweep] once it is running, and
// [Service.Close] at the end.
func New(c Config) (*Service, error) {
	s := &Service{records: c.Store, content: c.Content, now: c.Now, rand: c.Rand}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	start, err := s.draw(6)
	if err != nil {
		return nil, err
	}
	s.start = start
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the removal of deleted things; what is left of it is done after
// the next start.
func (s *Service) Close() {
	s.cancel()
	s.work.Wait()
}

// draw returns n random bytes in hexadecimal.
func (s *Service) draw(n int) (string, error) {
	buf := make([]byte, n)
	if _, err := io.ReadFull(s.rand, buf); err != nil {
		return "", fmt.Errorf("drawing random bytes: %w", err)
	}
	return hex.EncodeToString(buf), nil
}

// stamp returns the entity tag and time of a change. Tags grow, within the
// process and against the tag before, so that no state of a blob shares one.
func (s *Service) stamp(before string) (etag string, at time.Time) {
	at = s.now().UTC()
	const ticksAtEpoch = 621355968000000000 // 100 ns since year 1, as Azure's tags count
	tag := at.UnixNano()/100 + ticksAtEpoch
	if old, err := strconv.ParseInt(strings.TrimPrefix(before, "0x"), 16, 64); err == nil {
		tag = max(tag, old+1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tag = max(tag, s.lastTag+1)
	s.lastTag = tag
	return fmt.Sprintf("0x%X", tag), at
}

// later runs fn after the request that caused it, until Close.
func (s *Service) later(fn func(ctx context.Context)) {
	s.work.Go(func() { fn(s.ctx) })
}

// Tables.
type containerRecord struct {
	UID string
	Container
}

type blobRecord struct {
	Blob
	Segments []segment `json:",omitempty"`
}

// segment is a run of a blob's bytes.
type segment struct {
	Key  string
	Size int64
	ID   string `json:",omitempty"` // the block's id, as base64; "" for bytes that came in one request
}

// staging is what the uncommitted blocks of one blob have in common.
type staging struct {
	IDLength int // of each block id, decoded
	Count    int
	Last     time.Time
}

type blockRecord struct {
	Name string // of the blob
	segment
}

type goneRecord struct{ Container string }

var (
	containers = store.Table[containerRecord]{Name: "blob_containers"}
	blobs      = store.Table[blobRecord]{Name: "blob_blobs"}
	stagings   = store.Table[staging]{Name: "blob_staging"}
	blocks     = store.Table[blockRecord]{Name: "blob_blocks"}
	gone       = store.Table[goneRecord]{Name: "blob_gone"}
)

// failed hides the cause of a failure of ours, and lets faults through.
func failed(err error, doing string) error {
	if err == nil || isFault(err) {
		return err
	}
	return fault.Wrap(err, doing)
}
