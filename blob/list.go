package blob

import (
	"context"
	"encoding/base64"
	"strings"

	"lapis/fault"
	"lapis/store"
)

// ListBlobs asks for a page of a container's blobs.
type ListBlobs struct {
	Prefix      string
	Delimiter   string // groups the names that share what comes before it
	Marker      string // of the page before
	Max         int    // 1 to 5,000
	Uncommitted bool   // with the blobs of which only blocks were put
}

// Item of a list: a blob, or the prefix that a group of blobs shares.
type Item struct {
	Blob   Blob
	Prefix string // "" for a blob
}

// BlobPage is part of a list; Next is the marker of the page after it, or "".
type BlobPage struct {
	Items []Item
	Next  string
}

// lastRune follows every other in byte order, and is in no blob's name.
const lastRune = "\U0010FFFF"

// ListBlobs lists a container in the order of names.
func (s *Service) ListBlobs(ctx context.Context, space Space, container string, q ListBlobs) (BlobPage, error) {
	after, err := readMarker(q.Marker)
	if err != nil {
		return BlobPage{}, err
	}
	l := lister{q: q, after: after}
	err = s.records.View(ctx, func(r store.Reader) error {
		c, err := findContainer(r, space, container)
		if err != nil {
			return err
		}
		l.r, l.uid = r, c.UID+"/"
		if q.Uncommitted {
			if err := s.stagedNames(&l); err != nil {
				return err
			}
		}
		return l.run()
	})
	return l.page, failed(err, "listing the blobs")
}

// stagedNames finds the names for which blocks wait.
func (s *Service) stagedNames(l *lister) error {
	found, err := stagings.List(l.r, l.uid+l.q.Prefix, l.seek(), 0)
	for _, e := range found {
		if !s.expired(e.Value) {
			l.staged = append(l.staged, strings.TrimPrefix(e.Key, l.uid))
		}
	}
	return err
}

// lister walks the blobs of a container once.
type lister struct {
	r      store.Reader
	uid    string // with the slash
	q      ListBlobs
	after  string   // the last name that was dealt with
	staged []string // names with waiting blocks, in order
	page   BlobPage
}

func (l *lister) seek() string {
	if l.after == "" {
		return ""
	}
	return l.uid + l.after
}

func (l *lister) run() error {
	for {
		want := min(1000, l.q.Max+1-len(l.page.Items))
		batch, err := blobs.List(l.r, l.uid+l.q.Prefix, l.seek(), want)
		if err != nil {
			return err
		}
		full, skipped := l.take(batch)
		if full {
			return nil
		}
		if !skipped && len(batch) < want {
			l.takeStaged("")
			return nil
		}
	}
}

// take adds a batch. full says that the page is complete; skipped, that the
// rest of the batch lies in a group, and that the walk goes on behind it.
func (l *lister) take(batch []store.Entry[blobRecord]) (full, skipped bool) {
	for _, e := range batch {
		b := e.Value.Blob
		if l.takeStaged(b.Name) {
			return true, false
		}
		if b.Name <= l.after { // in a group that a waiting name opened
			return false, true
		}
		if l.add(Item{Blob: b}) {
			return true, false
		}
		if l.after != b.Name {
			return false, true
		}
	}
	return false, false
}

// takeStaged adds the waiting names before name ("": all), and drops name itself.
func (l *lister) takeStaged(name string) (full bool) {
	for len(l.staged) > 0 && (name == "" || l.staged[0] <= name) {
		next := l.staged[0]
		l.staged = l.staged[1:]
		if next <= l.after || next == name {
			continue
		}
		if l.add(Item{Blob: Blob{Name: next, Uncommitted: true}}) {
			return true
		}
	}
	return false
}

// add puts an item, or the group it belongs to, on the page. At the first item
// beyond the page it sets the marker and returns true.
func (l *lister) add(item Item) (full bool) {
	if len(l.page.Items) == l.q.Max {
		l.page.Next = writeMarker(l.after)
		return true
	}
	l.after = item.Blob.Name
	if group := commonPrefix(item.Blob.Name, l.q.Prefix, l.q.Delimiter); group != "" {
		item = Item{Prefix: group}
		l.after = group + lastRune
	}
	l.page.Items = append(l.page.Items, item)
	return false
}

// commonPrefix is the part of name up to and with the delimiter that follows
// prefix, or "" where there is none.
func commonPrefix(name, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	i := strings.Index(name[len(prefix):], delimiter)
	if i < 0 {
		return ""
	}
	return name[:len(prefix)+i+len(delimiter)]
}

// A marker is the last name of a page. Clients give it back as it is.
const markerVersion = "1!"

func writeMarker(name string) string {
	return markerVersion + base64.RawURLEncoding.EncodeToString([]byte(name))
}

func readMarker(marker string) (string, error) {
	if marker == "" {
		return "", nil
	}
	encoded, ok := strings.CutPrefix(marker, markerVersion)
	name, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return "", fault.E(fault.Invalid, "InvalidQueryParameterValue",
			"The marker is not one that a list gave back as NextMarker.").At("marker")
	}
	return string(name), nil
}
